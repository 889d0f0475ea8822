package tree

import (
	"fmt"
	"strings"
)

// ComparePath orders paths as a depth-first walk with sorted names meets them:
// component by component, bytewise, a folder before its contents. So "a" <
// "a/x" < "a.b", although '.' < '/'. "." comes first.
func ComparePath(a, b string) int {
	if a == "." || b == "." {
		return boolInt(a != ".") - boolInt(b != ".")
	}
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return int(pathByte(a[i])) - int(pathByte(b[i]))
		}
	}
	return len(a) - len(b)
}

// pathByte returns a byte's rank in a path: the separator ends a component, so it
// comes before any byte that would make the component longer. NUL, which would
// have the same rank, is in no path.
func pathByte(c byte) byte {
	if c == '/' {
		return 0
	}
	return c
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// JoinPath returns the path of a name in the folder at path.
func JoinPath(path, name string) string {
	if path == "." || path == "" {
		return name
	}
	return path + "/" + name
}

// SplitPath returns the folder and the name of an entry's path. The folder of a path
// without a separator is ".".
func SplitPath(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return ".", path
}

// InSubtree reports whether path is top or lies below it.
func InSubtree(path, top string) bool {
	return top == "." || path == top ||
		len(path) > len(top) && path[len(top)] == '/' && strings.HasPrefix(path, top)
}

// CheckPath says why path cannot be an entry's, or returns nil. Restores rely on it:
// a path that passes leads nowhere but below the record's top.
func CheckPath(path string) error {
	switch {
	case path == ".":
		return nil
	case path == "":
		return fmt.Errorf("an empty path")
	case len(path) > MaxPath:
		return fmt.Errorf("a path of %d bytes, at most %d are allowed", len(path), MaxPath)
	case strings.IndexByte(path, 0) >= 0:
		return fmt.Errorf("the path %q has a NUL byte", path)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("the path %q has the component %q", path, part)
		}
	}
	return nil
}
