package osfs

import (
	"os"
	"syscall"
	"time"
)

// noAtime: macOS has no such flag.
const noAtime = 0

func changeTime(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctimespec.Unix()) }

// fdPath: open folders have no other path.
func fdPath(*os.File) string { return "" }

// nextData takes a file for one run of data.
func nextData(_ *os.File, off, size int64) (from, to int64, err error) { return off, size, nil }
