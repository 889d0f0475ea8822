package osfs

import (
	"encoding/binary"
	"slices"
	"testing"
)

// dirent is a record of getdents64.
func dirent(inode uint64, name string) []byte {
	length := (19 + len(name) + 1 + 7) &^ 7
	b := make([]byte, length)
	binary.NativeEndian.PutUint64(b, inode)
	binary.NativeEndian.PutUint16(b[16:], uint16(length))
	copy(b[19:], name)
	return b
}

// Some file systems give an inode of 0 to files that are there.
func TestNamesWithoutInodeAreListed(t *testing.T) {
	records := slices.Concat(dirent(1, "."), dirent(2, ".."), dirent(0, "a"), dirent(7, "longer name"), dirent(0, "..."))
	if got, want := appendNames([]string{"before"}, records), []string{"before", "a", "longer name", "..."}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for cut := range records { // never beyond what was read
		appendNames(nil, records[:cut])
	}
}
