package transfer

import "sync/atomic"

// Progress counts what a running backup or restore has done. Its counters may be read at
// any time.
type Progress struct {
	Files      atomic.Int64 // entries done, without folders
	Bytes      atomic.Int64 // bytes of content done; those of unchanged files, which are not read, count too
	Sent       atomic.Int64 // bytes sent to nodes by a backup, or received from nodes by a restore
	TotalFiles atomic.Int64 // files to do, as far as known by now
	TotalBytes atomic.Int64 // bytes to do, as far as known by now
	Counted    atomic.Bool  // the totals are final
	// Count makes a backup count what there is to do in a walk of its own. It is set before
	// the start, if the progress is shown.
	Count bool
}

// Restart sets all counters to zero, for an operation that begins again.
func (p *Progress) Restart() {
	p.Counted.Store(false)
	for _, n := range []*atomic.Int64{&p.Files, &p.Bytes, &p.Sent, &p.TotalFiles, &p.TotalBytes} {
		n.Store(0)
	}
}
