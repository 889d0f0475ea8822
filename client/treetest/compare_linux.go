package treetest

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrsOf returns the attributes of a name in r. It does not follow a link.
func xattrsOf(r *os.Root, name string) (map[string]string, error) {
	d, err := r.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	path := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)
	buf := make([]byte, 128<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	attrs := map[string]string{}
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if attr == "" {
			continue
		}
		n, err := unix.Lgetxattr(path, attr, buf)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", attr, err)
		}
		attrs[attr] = string(buf[:n])
	}
	return attrs, nil
}

// nextData returns the offset of the next bytes, from off on, that are not in a hole.
func nextData(f *os.File, off int64) int64 {
	next, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		if info, err := f.Stat(); err == nil {
			return max(off, info.Size())
		}
		return math.MaxInt64 / 2
	case err != nil:
		return off
	}
	return next
}
