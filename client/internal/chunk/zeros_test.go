package chunk

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/osfs"
)

// part is what one call of a cutter's Next returns: a chunk, or zeros.
type part struct {
	off, len int
	zeros    bool
}

// wantParts returns what content must be cut into, by the plainest form of the rule: long
// runs of zeros are left out, and the data between them is cut by itself.
func wantParts(gear *Gear, content []byte) (parts []part) {
	data := func(from, to int) {
		for from < to {
			n := gear.cut(content[from:to])
			parts = append(parts, part{from, n, false})
			from += n
		}
	}
	done := 0
	for i := 0; i < len(content); {
		n := 0
		for i+n < len(content) && content[i+n] == 0 {
			n++
		}
		if n >= MinZeros {
			data(done, i)
			done = i + n
			for off := i; off < done; off += MaxSize {
				parts = append(parts, part{off, min(MaxSize, done-off), true})
			}
		}
		i += n + 1
	}
	data(min(done, len(content)), len(content))
	return parts
}

// parts appends what c yields. The first part has the offset off.
func (c *Cutter) parts(t rapid.TB, off int, parts []part) []part {
	for {
		plain, zeros, err := c.Next()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		if zeros > 0 && plain.Bytes != nil {
			t.Fatalf("%d zeros and a chunk of %d bytes at once", zeros, len(plain.Bytes))
		}
		p := part{off, len(plain.Bytes) + zeros, zeros > 0}
		if zeros == 0 {
			plain.Release()
		}
		parts = append(parts, p)
		off += p.len
	}
}

// stretch is a run of noise or of zeros.
type stretch struct {
	len   int
	zeros bool
}

// stretches generates contents. Their lengths lie around those at which something changes.
var stretches = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) stretch {
	around := rapid.SampledFrom([]int{8, holeUnit, MinZeros / 2, MinZeros, MinZeros, 2 * MinZeros, readSize, MaxSize})
	n := around.Draw(t, "around") + rapid.IntRange(-9, 9).Draw(t, "off")
	return stretch{max(n, 1), rapid.Bool().Draw(t, "zeros")}
}), 1, 7)

// contentOf returns the content that the stretches make.
func contentOf(all []stretch) []byte {
	var content []byte
	for i, s := range all {
		if s.zeros {
			content = append(content, make([]byte, s.len)...)
			continue
		}
		// A stretch of noise begins and ends with a byte that is not zero, and has zeros
		// within.
		b := clienttest.Noise(byte(i), s.len)
		clear(b[len(b)/3 : len(b)/2])
		b[0], b[len(b)-1] = 1, 1
		content = append(content, b...)
	}
	return content
}

func TestCutsAroundZeros(t *testing.T) {
	gear := testGear(clienttest.Key())
	rapid.Check(t, func(rt *rapid.T) {
		content := contentOf(stretches.Draw(rt, "content"))
		want := wantParts(gear, content)
		in := NewIntake(t.Context(), NewBlocks(2))
		defer in.Close()
		c := NewCutter(&unevenReader{content, rt}, gear, in)
		if got := c.parts(rt, 0, nil); !slices.Equal(got, want) {
			rt.Fatalf("%d bytes are cut into\n%v, want\n%v", len(content), got, want)
		}
	})
}

// unevenReader yields now many, now few bytes at a time.
type unevenReader struct {
	rest []byte
	t    *rapid.T
}

func (r *unevenReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	limit := rapid.SampledFrom([]int{1 << 20, 300_000, MinZeros, 70_001}).Draw(r.t, "read")
	n := copy(p[:min(len(p), limit)], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestCutsMoveWithTheContent(t *testing.T) {
	gear := testGear(clienttest.Key())
	content := slices.Concat(make([]byte, MinZeros), clienttest.Noise(1, 2<<20), make([]byte, 3<<20+5), clienttest.Noise(2, 1<<20), make([]byte, 200_000))
	want := wantParts(gear, content)
	for _, by := range []int{1, 7, 4096, 70_000} {
		in := NewIntake(t.Context(), NewBlocks(2))
		c := NewCutter(io.MultiReader(bytes.NewReader(clienttest.Noise(3, by)), bytes.NewReader(content)), gear, in)
		got := c.parts(t, 0, nil)
		in.Close()
		for i := range got {
			got[i].off -= by
		}
		if len(got) == 0 || !slices.Equal(got[1:], want) {
			t.Errorf("moved by %d bytes, it is cut into %v, want %v", by, got, want)
		}
	}
}

// A file is cut into the same chunks, whichever of its zeros are holes.
func TestHolesCutLikeZeros(t *testing.T) {
	gear, path := testGear(clienttest.Key()), filepath.Join(t.TempDir(), "f")
	rapid.Check(t, func(rt *rapid.T) {
		content := contentOf(stretches.Draw(rt, "content"))
		f, err := os.Create(path)
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		for off := 0; off < len(content); off += holeUnit {
			block := content[off:min(off+holeUnit, len(content))]
			// Most blocks of zeros become holes; a few are written.
			if zerosAhead(block) < len(block) || rapid.IntRange(0, 40).Draw(rt, "written") == 0 {
				if _, err := f.WriteAt(block, int64(off)); err != nil {
					rt.Fatal(err)
				}
			}
		}
		size := int64(len(content))
		if err := f.Truncate(size); err != nil {
			rt.Fatal(err)
		}
		in := NewIntake(t.Context(), NewBlocks(2))
		defer in.Close()
		c := NewCutter(nil, gear, in)
		var got []part
		for region, err := range osfs.DataRegions(f, size, MinZeros) {
			if err != nil {
				rt.Fatal(err)
			}
			end := region.Off + region.Len
			c.Reset(io.NewSectionReader(f, region.Off, region.Len), region.Off > 0, end < size)
			got = c.parts(rt, int(region.Off), got)
		}
		isZeros := func(p part) bool { return p.zeros }
		want := slices.DeleteFunc(wantParts(gear, content), isZeros)
		if got := slices.DeleteFunc(got, isZeros); !slices.Equal(got, want) {
			rt.Fatalf("%d bytes are cut into\n%v, want\n%v", len(content), got, want)
		}
	})
}

func TestFindZeros(t *testing.T) {
	const z = MinZeros
	type run struct{ Off, Len int }
	for _, tc := range []struct {
		runs        []run // of zeros
		size, limit int
		from, to    int
	}{
		{nil, 4 * z, 4 * z, 4 * z, 4 * z},
		{nil, 0, 0, 0, 0},
		{[]run{{0, z}}, 4 * z, 1, 0, z},
		{[]run{{0, z - 1}}, 4 * z, 4 * z, 4 * z, 4 * z},
		{[]run{{5, z}}, 4 * z, 4 * z, 5, z + 5},
		{[]run{{5, 3 * z}}, 4 * z, 4 * z, 5, z + 5},
		{[]run{{5, z}}, 4 * z, 5, 5, 5}, // begins at the limit
		{[]run{{1, z - 1}, {z + 1, z - 1}, {2*z + 1, z}}, 4 * z, 4 * z, 2*z + 1, 3*z + 1},
		{[]run{{3 * z, z - 1}}, 4*z - 1, 4*z - 1, 3 * z, 4*z - 1}, // reaches the end
		{[]run{{3*z + 9, 1}}, 3*z + 10, 3*z + 10, 3*z + 9, 3*z + 10},
		{[]run{{0, 9}}, 9, 9, 0, 9},
	} {
		b := bytes.Repeat([]byte{1}, tc.size)
		for _, r := range tc.runs {
			clear(b[r.Off:][:r.Len])
		}
		from, to := findZeros(b, tc.limit)
		if from != tc.from || from < tc.limit && to != tc.to {
			t.Errorf("%v in %d bytes up to %d: [%d, %d), want [%d, %d)", tc.runs, tc.size, tc.limit, from, to, tc.from, tc.to)
		}
	}
}

// Looking for zeros must cost next to nothing in content without long runs.
func BenchmarkFindZeros(b *testing.B) {
	for _, every := range []int{0, 64, 100_000} {
		data := clienttest.Noise(1, MaxSize)
		for i := 0; every > 0 && i < len(data); i += every {
			clear(data[i:min(i+every*9/10, len(data))])
			data[i] = 1
		}
		b.Run(fmt.Sprint("zeros of ", every*9/10), func(b *testing.B) {
			b.SetBytes(MaxSize)
			for b.Loop() {
				findZeros(data, len(data))
			}
		})
	}
}
