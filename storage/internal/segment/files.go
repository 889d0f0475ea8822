package segment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const fileSuffix = ".seg"

// FileName returns the name of the segment's file.
func FileName(n uint32) string { return fmt.Sprintf("%08d%s", n, fileSuffix) }

// List returns the numbers of the segments whose files are in dir, ascending. It
// ignores other files.
func List(fsys vfs.FS, dir string) ([]uint32, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list the segments: %w", err)
	}
	var numbers []uint32
	for _, name := range names {
		digits, ok := strings.CutSuffix(name, fileSuffix)
		n, err := strconv.ParseUint(digits, 10, 32)
		if ok && err == nil && name == FileName(uint32(n)) {
			numbers = append(numbers, uint32(n))
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
