#!/usr/bin/env bash
# Runs Windows programs under Wine: run.sh PROGRAM.exe ARGS...
# With --check instead of a program, it only tells whether it can, and why not: exit code 0 or 1.
#
# Everything Windows lies in WINEPREFIX (default: a folder of this user's caches), which is made at
# the first run, about 200 MB. Debian: apt-get install wine wine64 gcc-mingw-w64-x86-64.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export WINEPREFIX=${WINEPREFIX:-${XDG_CACHE_HOME:-$HOME/.cache}/servidor-backup-wine}
export WINEDEBUG=${WINEDEBUG:--all} # no messages of Wine itself
export WINEDLLOVERRIDES="${WINEDLLOVERRIDES:-mscoree=;mshtml=}" # asks for no downloads

cannot() { echo "no Windows programs can run here: $*"; exit 1; }

command -v wine >/dev/null || cannot "there is no wine"
command -v x86_64-w64-mingw32-gcc >/dev/null || cannot "there is no x86_64-w64-mingw32-gcc, and Wine before 9 lacks a function that Go needs"

dll=$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll
if [ ! -f "$dll" ]; then
  mkdir -p "$WINEPREFIX"
  timeout 120 wineboot --init >/dev/null 2>&1 || cannot "wineboot failed or took over 2 minutes in $WINEPREFIX"
  x86_64-w64-mingw32-gcc -shared -O2 -o "$dll.new" "$here/prng.c" -ladvapi32
  mv "$dll.new" "$dll"
fi
[ "${1-}" = --check ] || exec wine "$@"
