//go:build unix

package seal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Windows has no permission bits.
func TestExposedKeyFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.key")
	if _, err := CreateKey(path, "of a test"); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(path); !errors.Is(err, errKeyExposed) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}
