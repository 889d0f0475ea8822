package osfs

import (
	"os"
	"time"
)

// ChangedBetween reports whether a file was written to, replaced or given other metadata
// between two looks at it.
func ChangedBetween(before, after os.FileInfo) bool {
	b, a := MetaOf(before), MetaOf(after)
	return !os.SameFile(before, after) ||
		unixType(before.Mode()) != unixType(after.Mode()) || b.Size != a.Size || b.Mtime != a.Mtime || b.Ctime != a.Ctime
}

// freshTime is how old a change must be, when a file is opened, for the file's times to show
// any later change: the clocks of file systems tick some milliseconds apart.
const freshTime = 20 * time.Millisecond

// ChangedJustNow reports whether a file with this change time, in nanoseconds since 1970, was
// changed so recently that a later change may leave its times as they are.
func ChangedJustNow(ctime int64) bool { return time.Since(time.Unix(0, ctime)) < freshTime }
