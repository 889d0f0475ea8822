/* ProcessPrng of bcryptprimitives.dll, from which Go programs take random numbers. Wine has it from
 * version 9 on. RtlGenRandom of advapi32.dll, whose exported name is SystemFunction036, does the
 * same for pieces whose length fits a ULONG. */
#include <windows.h>

BOOLEAN WINAPI SystemFunction036(void *buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *buffer, SIZE_T length)
{
    const ULONG most = 1 << 20;
    SIZE_T done = 0;

    while (done < length) {
        SIZE_T left = length - done;
        ULONG piece = left < most ? (ULONG)left : most;

        if (!SystemFunction036(buffer + done, piece))
            return FALSE;
        done += piece;
    }
    return TRUE;
}
