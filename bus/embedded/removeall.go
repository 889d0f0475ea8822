package embedded

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// RemoveAll is [os.RemoveAll]. Where the system lacks the call by which that removes names in open
// folders, as Wine does before version 9, it removes one path after the other. Nothing else may
// change the folder meanwhile.
func RemoveAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	var paths []string
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
		paths = append(paths, path)
		return nil
	})
	for _, path := range slices.Backward(paths) {
		if os.Remove(path) != nil {
			return err
		}
	}
	return nil
}
