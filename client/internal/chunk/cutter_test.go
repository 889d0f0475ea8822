package chunk

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/seal"
)

// testGear returns the gear table of a key.
func testGear(key seal.VaultKey) *Gear { return NewGear(seal.New(key).CutSeed()) }

// cutAll returns the offsets where chunks and runs of zeros end. It fails the test if
// together they are not want.
func cutAll(t *testing.T, r io.Reader, want []byte) (ends []int) {
	t.Helper()
	in := NewIntake(t.Context(), NewBlocks(2))
	c := NewCutter(r, testGear(clienttest.Key()), in)
	for end := 0; ; {
		plain, zeros, err := c.Next()
		chunk := plain.Bytes
		if zeros > 0 {
			chunk = make([]byte, zeros)
		}
		if err == io.EOF {
			if end != len(want) {
				t.Fatalf("the chunks end at %d of %d", end, len(want))
			}
			return ends
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(chunk, want[end:end+len(chunk)]) {
			t.Fatalf("the chunk at %d is not the content there", end)
		}
		end += len(chunk)
		ends = append(ends, end)
		if zeros == 0 {
			plain.Release()
		}
	}
}

// Every release must cut the same content with the same key at the same offsets:
// otherwise nothing deduplicates against what older releases stored.
func TestCutPointsArePinned(t *testing.T) {
	data := clienttest.Noise(1, 6<<20)
	golden := []int{485360, 964014, 1409152, 1631331, 2216147, 2770376, 3294426,
		3912294, 4350097, 4800278, 5275349, 5793797, 6229873, 6291456}
	if got := cutAll(t, bytes.NewReader(data), data); !slices.Equal(got, golden) {
		t.Errorf("cut at %v, pinned %v", got, golden)
	}
}

func TestChunkLengths(t *testing.T) {
	data := clienttest.Noise(2, 24<<20)
	ends := cutAll(t, bytes.NewReader(data), data)
	start := 0
	for _, end := range ends[:len(ends)-1] {
		if n := end - start; n < MinSize || n > MaxSize {
			t.Errorf("a chunk of %d bytes", n)
		}
		start = end
	}
	if avg := len(data) / len(ends); avg < 450<<10 || avg > 600<<10 {
		t.Errorf("chunks have %d bytes on average", avg)
	}
}

func TestShortContents(t *testing.T) {
	if ends := cutAll(t, bytes.NewReader(nil), nil); ends != nil {
		t.Errorf("empty content was cut at %v", ends)
	}
	for _, n := range []int{1, MinSize - 1, MinSize} {
		data := clienttest.Noise(3, n)
		if ends := cutAll(t, bytes.NewReader(data), data); len(ends) != 1 {
			t.Errorf("%d bytes were cut at %v, want one chunk", n, ends)
		}
	}
}

// Zeros, in which no hash is a border, are cut at the longest length.
func TestUniformContentIsCutAtMaxSize(t *testing.T) {
	data := make([]byte, 2*MaxSize+5)
	want := []int{MaxSize, 2 * MaxSize, 2*MaxSize + 5}
	if ends := cutAll(t, bytes.NewReader(data), data); !slices.Equal(ends, want) {
		t.Errorf("zeros are cut at %v", ends)
	}
}

func TestCutsFallIntoStepAfterInsertion(t *testing.T) {
	data := clienttest.Noise(4, 12<<20)
	longer := append([]byte("x"), data...)
	before := cutAll(t, bytes.NewReader(data), data)
	var shared int
	for _, end := range cutAll(t, bytes.NewReader(longer), longer) {
		if slices.Contains(before, end-1) {
			shared++
		}
	}
	if shared < len(before)-4 {
		t.Errorf("%d of %d cuts are at the same content as before", shared, len(before))
	}
}

func TestCutsDependOnTheKey(t *testing.T) {
	data := clienttest.Noise(5, MaxSize)
	other := clienttest.Key()
	other[0]++
	if testGear(clienttest.Key()).cut(data) == testGear(other).cut(data) {
		t.Error("two keys give the same cut")
	}
}

func TestCutsDoNotDependOnReads(t *testing.T) {
	data := clienttest.Noise(6, 3<<20)
	want := cutAll(t, bytes.NewReader(data), data)
	for name, r := range map[string]io.Reader{
		"one byte":      iotest.OneByteReader(bytes.NewReader(data)),
		"half":          iotest.HalfReader(bytes.NewReader(data)),
		"data with EOF": iotest.DataErrReader(bytes.NewReader(data)),
	} {
		if got := cutAll(t, r, data); !slices.Equal(got, want) {
			t.Errorf("%s: cut at %v, want %v", name, got, want)
		}
	}
}

func TestCutterErrorsStay(t *testing.T) {
	broken := errors.New("broken disk")
	c := NewCutter(io.MultiReader(bytes.NewReader(clienttest.Noise(7, 10)), iotest.ErrReader(broken)), testGear(clienttest.Key()), NewIntake(t.Context(), NewBlocks(2)))
	for range 2 {
		if chunk, _, err := c.Next(); err != broken || chunk.Bytes != nil {
			t.Errorf("got %d bytes and %v", len(chunk.Bytes), err)
		}
	}
	c.Reset(bytes.NewReader([]byte("whole")), false, false)
	if chunk, _, err := c.Next(); err != nil || string(chunk.Bytes) != "whole" {
		t.Errorf("after reset: %q, %v", chunk.Bytes, err)
	}
	c.Reset(stuckReader{}, false, false)
	if _, _, err := c.Next(); err != io.ErrNoProgress {
		t.Errorf("a reader that yields nothing: %v", err)
	}
}

type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { return 0, nil }

// Whatever the content, its chunks are within bounds and together are the content.
func FuzzCutter(f *testing.F) {
	f.Add([]byte("seed"), uint32(3<<20), uint16(1))
	f.Add([]byte{0}, uint32(2<<20), uint16(4096))
	f.Fuzz(func(t *testing.T, pattern []byte, size uint32, read uint16) {
		if len(pattern) == 0 {
			pattern = clienttest.Noise(8, 1<<20)
		}
		data := bytes.Repeat(pattern, int(size%(4<<20))/len(pattern)+1)
		start := 0
		for _, end := range cutAll(t, &slowReader{data, int(read) + 1}, data) {
			if n := end - start; n > MaxSize || n < MinSize && end != len(data) && !besideZeros(data, start, end) {
				t.Fatalf("a chunk of %d bytes", n)
			}
			start = end
		}
	})
}

// besideZeros reports whether a long run of zeros follows data[start:end], or whether
// data[start:end] is the end of a run of zeros.
func besideZeros(data []byte, start, end int) bool {
	return zerosAhead(data[end:]) >= MinZeros || zerosBehind(data[:end]) >= end-start
}

// slowReader yields at most step bytes at a time.
type slowReader struct {
	data []byte
	step int
}

func (r *slowReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.step)], r.data)
	r.data = r.data[n:]
	return n, nil
}

func BenchmarkCut(b *testing.B) {
	gear, data := testGear(clienttest.Key()), clienttest.Noise(1, 64<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for rest := data; len(rest) > 0; {
			rest = rest[gear.cut(rest):]
		}
	}
}
