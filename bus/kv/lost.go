package kv

import "context"

// FirstRevision is the revision that the bucket was made to begin with, the µs since 1970 if it was
// made by this program, else 0. Whatever has a lower one is of a bucket that was lost.
func (b *Bucket) FirstRevision() uint64 { return b.began }

// Lost reports whether the bucket that was opened is not there any more, or another one
// was made in its place. An error is no such answer: servers that are away, start or
// choose a leader have lost nothing.
//
// That there is no such stream is said by a server that stands alone, which opens all of
// its streams before it listens, or by the leader of a cluster's servers, who leads only
// after it has gone through all that they have agreed on. The one who leads a stream that
// is there says with which revision it began.
func (b *Bucket) Lost(ctx context.Context) (bool, error) {
	first, err := b.first(ctx)
	if isLost(err) {
		return true, nil
	}
	return err == nil && first != b.began, err
}
