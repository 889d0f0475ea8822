package catalog

import (
	"context"
	"errors"
	"time"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// CheckpointLife is how long a checkpoint is kept after its last progress.
const CheckpointLife = 72 * time.Hour

// Checkpoint is what an unfinished backup of a record has sent: a root of collections that is no
// version. A record has at most one. It is news for the next backup, and may be lost: then what it
// names is collected and sent again.
type Checkpoint struct {
	Nickname string           `msgpack:"apelido"`
	Record   string           `msgpack:"nome_arquivo"`
	Source   schemas.SourceID `msgpack:"source"` // of the backup
	Root     schemas.ChunkID  `msgpack:"root"`
	Bytes    int64            `msgpack:"bytes"`
	Updated  int64            `msgpack:"updated"` // Unix ns
}

// until is when the checkpoint expires.
func (c *Checkpoint) until() time.Time { return time.Unix(0, c.Updated).Add(CheckpointLife) }

// Message is what a client is told of the checkpoint.
func (c *Checkpoint) Message() *schemas.Checkpoint {
	return &schemas.Checkpoint{Root: c.Root, Bytes: c.Bytes, Until: c.until().UnixNano()}
}

const checkpointPrefix = "checkpoint."

func checkpointKey(nickname, record string) string {
	return checkpointPrefix + kv.Token(nickname) + "." + kv.Token(record)
}

// Checkpoint reads a record's checkpoint; nil if it has none, or one that has expired.
func (s *State) Checkpoint(ctx context.Context, nickname, record string) (*Checkpoint, error) {
	c := new(Checkpoint)
	_, err := s.bucket.Get(ctx, checkpointKey(nickname, record), c)
	if errors.Is(err, kv.ErrNotFound) || err == nil && time.Now().After(c.until()) {
		return nil, nil
	}
	return c, err
}

// SaveCheckpoint replaces a record's checkpoint. It returns c, with the time of now.
func (s *State) SaveCheckpoint(ctx context.Context, c *Checkpoint) (*Checkpoint, error) {
	c.Updated = time.Now().UnixNano()
	var old Checkpoint
	_, err := s.bucket.Edit(ctx, checkpointKey(c.Nickname, c.Record), &old, func() { old = Checkpoint{} }, func() (bool, error) {
		old = *c
		return true, nil
	})
	return c, err
}

// RemoveCheckpoint removes a record's checkpoint, and reports whether there was one.
func (s *State) RemoveCheckpoint(ctx context.Context, nickname, record string) (existed bool, err error) {
	key := checkpointKey(nickname, record)
	if existed, err = s.bucket.Exists(ctx, key); err != nil || !existed {
		return false, err
	}
	return true, s.bucket.Delete(ctx, key)
}

// Checkpoints returns all checkpoints, and removes those that have expired.
func (s *State) Checkpoints(ctx context.Context) (all []Checkpoint, err error) {
	expired := map[string]uint64{} // the revisions of their keys
	err = s.bucket.Scan(ctx, checkpointPrefix+">", func(e kv.Entry) error {
		var c Checkpoint
		if e.Decode(&c) != nil || time.Now().After(c.until()) { // one that cannot be read is of no use
			expired[e.Key] = e.Revision
		} else {
			all = append(all, c)
		}
		return nil
	})
	for key, revision := range expired {
		// One that a backup has just replaced stays.
		if e := s.bucket.DeleteRevision(ctx, key, revision, nil); e != nil && !errors.Is(e, kv.ErrConflict) {
			err = errors.Join(err, e)
		}
	}
	return all, err
}
