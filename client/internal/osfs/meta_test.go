package osfs

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestModesGoBothWays(t *testing.T) {
	for mode := range uint32(0o10000) {
		if got := UnixMode(goMode(mode)); got != mode {
			t.Fatalf("the mode %#o became %#o", mode, got)
		}
	}
}

func TestTimesThatDoNotFit(t *testing.T) {
	for _, tc := range []struct {
		t    time.Time
		want int64
	}{
		{time.Unix(0, 1), 1},
		{time.Unix(-1, 999_999_999), -1},
		{time.Date(2446, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64},
		{time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), math.MinInt64},
	} {
		if got := nanoseconds(tc.t); got != tc.want {
			t.Errorf("%v is %d, want %d", tc.t, got, tc.want)
		}
	}
}

func TestOwnersAreKnownByNameAndNumber(t *testing.T) {
	name := NewOwnerNames().User.Get(uint32(os.Getuid()))
	if name == "" {
		t.Skip("who runs this has no name")
	}
	if got := NewOwnerIDs().User.Get(name); got != os.Getuid() {
		t.Errorf("%s is %d, want %d", name, got, os.Getuid())
	}
	if got := NewOwnerIDs().User.Get("no such user"); got != -1 {
		t.Errorf("nobody is %d, want -1", got)
	}
}

func TestChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	look := func(err error) os.FileInfo {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := look(os.WriteFile(path, []byte("one"), 0o600))
	if Changed(first, look(nil)) {
		t.Error("changed without a change")
	}
	longer := look(os.WriteFile(path, []byte("longer"), 0o600))
	older := look(os.Chtimes(path, time.Unix(1, 1), time.Unix(1, 1)))
	if !Changed(first, longer) || !Changed(longer, older) {
		t.Error("a change was missed")
	}
	if err := os.Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	other := look(os.WriteFile(path, []byte("longer"), 0o600))
	same := look(os.Chtimes(path, older.ModTime(), older.ModTime()))
	if !Changed(older, other) || !Changed(older, same) {
		t.Error("another file was taken for the same")
	}
}
