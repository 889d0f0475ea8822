package kv

import "context"

// FirstRevision is the revision at which the bucket starts: the µs since 1970 at which this
// program made it, or 0 if another program did. Everything with a lower revision belongs to
// an earlier bucket that was lost.
func (b *Bucket) FirstRevision() uint64 { return b.firstRevision }

// Lost reports whether the opened bucket no longer exists, or another one was made in its
// place. If it returns an error, nothing is known: servers that are unreachable, start or
// elect a leader have lost nothing.
//
// Only two servers can answer that a stream does not exist: a lone server, which opens all
// its streams before it listens, and the leader of a cluster, which leads only after it has
// applied everything that the servers have agreed on. The first revision of an existing
// stream comes from the stream's leader.
func (b *Bucket) Lost(ctx context.Context) (bool, error) {
	first, err := b.readFirstRevision(ctx)
	if isLost(err) {
		return true, nil
	}
	return err == nil && first != b.firstRevision, err
}
