package client

import (
	"context"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/upload"
	"servidor-backup/schemas"
)

const (
	// checkpointTick is the time between two looks whether a checkpoint is due. It is due after
	// checkpointBytes, but not sooner than checkpointSoonest, and after checkpointLatest.
	checkpointTick    = time.Second
	checkpointBytes   = 8 << 20
	checkpointSoonest = 2 * time.Second
	checkpointLatest  = 10 * time.Second
	// lastCheckpointTime is how long a backup that has failed or was interrupted may take to write
	// its last checkpoint.
	lastCheckpointTime = 3 * time.Second
)

// Unfinished is the error of a backup that has failed or was interrupted, and whose data is kept:
// the next backup of the record from the same source does not send it again.
type Unfinished struct {
	Err   error     // why the backup has ended
	Sent  int64     // bytes that are kept, sent by it and by the backups that it has continued
	Until time.Time // when a collection may remove them
}

func (e *Unfinished) Error() string { return e.Err.Error() }
func (e *Unfinished) Unwrap() error { return e.Err }

// keeper writes the checkpoints of a session. The order is: nodes acknowledge chunks; nodes
// acknowledge a checkpoint chunk that names them; the coordinator enters that chunk as the record's
// checkpoint. So a client may be killed at any time, and what it has sent up to the last checkpoint
// is kept.
type keeper struct {
	s      *session
	points *upload.Checkpoints
	up     *upload.Uploader
	writer *replica.Writer
	before int64               // bytes that earlier backups have sent
	kept   *schemas.Checkpoint // the newest that a coordinator has entered; nil if there is none
	off    bool                // the coordinator knows no checkpoints

	stop  context.CancelFunc
	ended chan struct{}
}

// keep starts to write checkpoints of an upload. previous is the one to continue, or nil.
func (s *session) keep(ctx context.Context, up *upload.Uploader, previous *schemas.Checkpoint) (*keeper, error) {
	writer, err := replica.NewWriter(s.c.ctl.nc, replica.WriterOptions{})
	if err != nil {
		return nil, err
	}
	k := &keeper{s: s, up: up, writer: writer, kept: previous, ended: make(chan struct{})}
	var base schemas.ChunkID
	if previous != nil {
		k.before, base = previous.Bytes, previous.Root
	}
	k.points = up.NewCheckpoints(writer, base)
	ctx, k.stop = context.WithCancel(ctx)
	go k.run(ctx)
	return k, nil
}

// run writes checkpoints when they are due, until ctx ends.
func (k *keeper) run(ctx context.Context) {
	defer close(k.ended)
	tick := time.NewTicker(checkpointTick)
	defer tick.Stop()
	last, written := time.Now(), int64(0)
	for !k.off {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			sent, waited := k.up.Acknowledged(), now.Sub(last)
			if sent == written || waited < checkpointSoonest || sent-written < checkpointBytes && waited < checkpointLatest {
				continue
			}
			// A failure is no matter: the next checkpoint names what this one should have named.
			if k.write(ctx) == nil {
				written = sent
			}
			last = time.Now()
		}
	}
}

// write writes a checkpoint and has a coordinator enter it.
func (k *keeper) write(ctx context.Context) error {
	root, bytes, err := k.points.Write(ctx)
	if err != nil || root.IsZero() || k.kept != nil && k.kept.Root == root {
		return err
	}
	req := &schemas.RenewRequest{Session: k.s.id, Token: k.s.token, Checkpoint: &schemas.Checkpoint{Root: root, Bytes: k.before + bytes}}
	var rep schemas.SessionReply
	if err := k.s.c.ctl.request(ctx, schemas.SubjectSessionRenew, req, &rep); err != nil {
		return err
	}
	if rep.Checkpoint == nil { // a coordinator of an earlier release
		k.off = true
		k.points.Stop()
		return nil
	}
	k.kept = rep.Checkpoint
	return nil
}

// pause ends the writing of checkpoints from time to time. [keeper.leave] may write a last one.
func (k *keeper) pause() {
	k.stop()
	<-k.ended
}

// end stops writing checkpoints.
func (k *keeper) end() {
	k.pause()
	k.points.Stop()
	k.writer.Close()
}

// leave ends the keeper of a backup that has ended with err: it writes a last checkpoint, if a
// server is there, and returns the error that says what is kept.
func (k *keeper) leave(ctx context.Context, err error) error {
	k.pause()
	if !k.off && k.s.c.ctl.nc.IsConnected() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCheckpointTime)
		_ = k.write(ctx) // then an earlier one counts
		cancel()
	}
	k.end()
	if k.kept == nil {
		return err
	}
	return &Unfinished{Err: err, Sent: k.kept.Bytes, Until: time.Unix(0, k.kept.Until)}
}
