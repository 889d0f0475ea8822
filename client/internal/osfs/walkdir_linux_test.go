package osfs

import (
	"encoding/binary"
	"slices"
	"testing"
)

// dirent returns a record as getdents64 writes it.
func dirent(inode uint64, name string) []byte {
	length := (19 + len(name) + 1 + 7) &^ 7
	b := make([]byte, length)
	binary.NativeEndian.PutUint64(b, inode)
	binary.NativeEndian.PutUint16(b[16:], uint16(length))
	copy(b[19:], name)
	return b
}

// Some file systems give existing files the inode 0.
func TestNamesWithInodeZeroAreListed(t *testing.T) {
	records := slices.Concat(dirent(1, "."), dirent(2, ".."), dirent(0, "a"), dirent(7, "longer name"), dirent(0, "..."))
	if got, want := appendNames([]string{"before"}, records), []string{"before", "a", "longer name", "..."}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for cut := range records { // a record that is cut off is not read beyond its end
		appendNames(nil, records[:cut])
	}
}
