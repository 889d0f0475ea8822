package osfs

import (
	"os"
	"time"
)

// ChangedBetween reports whether a file was written to, replaced or given other metadata
// between two looks at it by [Stat].
func ChangedBetween(before, after os.FileInfo) bool {
	b, a := MetaOf(before), MetaOf(after)
	return !IdentityOf(before).Matches(after) || b.Mode != a.Mode || b.UID != a.UID || b.GID != a.GID ||
		b.Size != a.Size || b.Mtime != a.Mtime || b.Ctime != a.Ctime
}

const (
	// freshTime is how old a change must be for the file's times to show any later change: the
	// clocks of file systems tick some milliseconds apart.
	freshTime = 20 * time.Millisecond
	// coarseTick is the longest time between two ticks of clocks of whole seconds: 1 s on HFS+ and
	// ext4 with small inodes, 2 s on FAT.
	coarseTick = 2 * time.Second
	// foreignTime is how much another machine's clock may be behind ours.
	foreignTime = time.Hour
)

// MayRepeat reports whether a change after the moment now, on a file system of the kind, may give
// a file this change time again, in nanoseconds since 1970. So a file that was read at that moment
// cannot be known to be unchanged by this time. Such a time is too fresh, or in the future, because
// a clock was set back.
func MayRepeat(stamp int64, kind Kind, now time.Time) bool {
	tick := freshTime
	switch {
	case kind != Ordinary:
		tick = foreignTime
	case stamp%int64(time.Second) == 0: // chance, or a coarse clock
		tick += coarseTick
	}
	return now.Sub(time.Unix(0, stamp)) < tick
}
