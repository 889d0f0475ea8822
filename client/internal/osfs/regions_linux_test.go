package osfs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestExtents(t *testing.T) {
	const block = 64 << 10
	for name, tc := range map[string]struct {
		size int64
		data []int64 // blocks written
		want []Extent
	}{
		"empty":    {0, nil, nil},
		"all hole": {10 * block, nil, nil},
		"no hole":  {2 * block, []int64{0, 1}, []Extent{{Off: 0, Len: 2 * block}}},
		"start":    {4 * block, []int64{3}, []Extent{{Off: 3 * block, Len: block}}},
		"end":      {4 * block, []int64{0}, []Extent{{Off: 0, Len: block}}},
		"comb":     {6 * block, []int64{1, 3, 4}, []Extent{{Off: block, Len: block}, {Off: 3 * block, Len: 2 * block}}},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, b := range tc.data {
				if _, err := f.WriteAt(slices.Repeat([]byte{1}, block), b*block); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Truncate(tc.size); err != nil {
				t.Fatal(err)
			}
			if got := allExtents(t, f, tc.size); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func allExtents(t *testing.T, f *os.File, size int64) []Extent {
	t.Helper()
	var all []Extent
	for x := newExtents(f, size); ; {
		e, ok, err := x.next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, e)
	}
}

// A file may grow or shrink after its size was read.
func TestExtentsKeepToTheSize(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 128<<10)); err != nil {
		t.Fatal(err)
	}
	if got, want := allExtents(t, f, 1000), []Extent{{Off: 0, Len: 1000}}; !slices.Equal(got, want) {
		t.Errorf("the first 1000 bytes: got %v, want %v", got, want)
	}
	if got, want := allExtents(t, f, 1<<20), []Extent{{Off: 0, Len: 128 << 10}}; !slices.Equal(got, want) {
		t.Errorf("a file that shrank to 128 KiB: got %v, want %v", got, want)
	}
}

// Holes that are too short are part of a region.
func TestRegionsTakeInShortHoles(t *testing.T) {
	const block = 64 << 10
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, b := range []int64{1, 3, 6} {
		if _, err := f.WriteAt(slices.Repeat([]byte{1}, block), b*block); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(8 * block); err != nil {
		t.Fatal(err)
	}
	for shortest, want := range map[int64][]Extent{
		1:         {{block, block}, {3 * block, block}, {6 * block, block}},
		block:     {{block, block}, {3 * block, block}, {6 * block, block}},
		block + 1: {{0, 4 * block}, {6 * block, 2 * block}},
		3 * block: {{0, 8 * block}},
	} {
		var got []Extent
		for region, err := range DataRegions(f, 8*block, shortest) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, region)
		}
		if !slices.Equal(got, want) {
			t.Errorf("shortest hole %d: got %v, want %v", shortest, got, want)
		}
	}
}
