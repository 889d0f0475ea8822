package transfer

import "sync/atomic"

// Progress counts what a running backup or restore has done. Its fields may be
// read at any time.
type Progress struct {
	Files      atomic.Int64 // entries that are not folders, done
	Bytes      atomic.Int64 // content done, also what was not read because unchanged
	Sent       atomic.Int64 // bytes that went to, or came from, nodes
	TotalFiles atomic.Int64 // what there is to do, as far as it is known by now
	TotalBytes atomic.Int64
	Counted    atomic.Bool // the totals are final
	// Count makes a backup count what there is to do in a walk of its own. Set
	// it before the start, when someone is watching.
	Count bool
}
