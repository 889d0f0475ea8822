package osfs

import "sync"

// Kind says how far what stat tells of the files of a file system can be relied on.
type Kind uint8

const (
	// Ordinary file systems are written by this machine alone: sizes are right, and times are of
	// this machine's clock.
	Ordinary Kind = iota + 1
	// Foreign file systems are those of another machine or program, or unknown: sizes may be
	// wrong, above all 0, and times may be of another clock.
	Foreign
	// Pseudo file systems show the kernel's state as files, such as /proc: sizes mean nothing.
	Pseudo
)

// kinds remembers the kinds of file systems by device, so that each is asked for once.
type kinds struct {
	mu sync.Mutex
	m  map[uint64]Kind
}

func (k *kinds) get(dev uint64, fd int) Kind {
	k.mu.Lock()
	defer k.mu.Unlock()
	kind := k.m[dev]
	if kind == 0 {
		if k.m == nil {
			k.m = map[uint64]Kind{}
		}
		kind = kindOf(fd)
		k.m[dev] = kind
	}
	return kind
}
