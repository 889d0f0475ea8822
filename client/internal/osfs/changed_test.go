package osfs

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestChangedBetween(t *testing.T) {
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
	if ChangedBetween(first, look(nil)) {
		t.Error("an untouched file counts as changed")
	}
	longer := look(os.WriteFile(path, []byte("longer"), 0o600))
	older := look(os.Chtimes(path, time.Unix(1, 1), time.Unix(1, 1)))
	if !ChangedBetween(first, longer) || !ChangedBetween(longer, older) {
		t.Error("a change was not noticed")
	}
	if err := os.Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	other := look(os.WriteFile(path, []byte("longer"), 0o600))
	same := look(os.Chtimes(path, older.ModTime(), older.ModTime()))
	if !ChangedBetween(older, other) || !ChangedBetween(older, same) {
		t.Error("another file counts as the same")
	}
}

func TestTimesThatMayRepeat(t *testing.T) {
	read := time.Date(2026, 3, 1, 12, 0, 10, 500_000_000, time.UTC)
	for _, tc := range []struct {
		what string
		age  time.Duration
		kind Kind
		want bool
	}{
		{"a clock of nanoseconds, at once", 3 * time.Millisecond, Ordinary, true},
		{"a clock of nanoseconds, later", 30 * time.Millisecond, Ordinary, false},
		{"a clock of seconds, in the same", 500 * time.Millisecond, Ordinary, true},
		{"a clock of two seconds, in the same", 1500 * time.Millisecond, Ordinary, true},
		{"a clock of seconds, later", 2500 * time.Millisecond, Ordinary, false},
		{"in the future", -time.Hour - time.Millisecond, Ordinary, true},
		{"another machine's clock, soon", 50*time.Minute + time.Millisecond, Foreign, true},
		{"another machine's clock, in the future", -time.Minute, Foreign, true},
		{"another machine's clock, later", 2*time.Hour + time.Millisecond, Foreign, false},
	} {
		if got := MayRepeat(read.Add(-tc.age).UnixNano(), tc.kind, read); got != tc.want {
			t.Errorf("%s: the time may repeat: %v, want %v", tc.what, got, tc.want)
		}
	}
}
