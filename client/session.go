package client

import (
	"context"
	"fmt"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/archive"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/internal/upload"
	"servidor-backup/schemas"
)

// commitTime is how long the coordinator may take to check the edges of a new version, which may
// have some millions of chunks.
const commitTime = 10 * time.Minute

// session is a backup's session with the coordinator, and the means to ask and send to nodes.
type session struct {
	c        *Client
	keys     *seal.Keys
	id       string
	token    []byte              // with which a session that has lapsed is opened again
	parent   *schemas.Version    // nil for the first version of a record
	recheck  bool                // chunks of the parent may be lost
	previous *schemas.Checkpoint // what an unfinished backup has sent; nil if there is none
	keeper   *keeper             // of the upload; nil before it
	vault    schemas.VaultID
	replicas *replica.Reader
	out      *replica.Writer

	committing   bool // a commit was sent, which may have succeeded even if that is not known
	stopRenewing context.CancelFunc
	renewed      chan struct{} // closed when renewing has stopped
	stopWatching func()        // ends the subscription to the node map
}

// openSession opens a session for the plan.
func openSession(ctx context.Context, c *Client, p *plan) (*session, error) {
	data, err := c.dataConn(ctx)
	if err != nil {
		return nil, err
	}
	fingerprint := c.key.Fingerprint()
	var rep schemas.SessionReply
	err = c.ctl.requestOrRetry(ctx, schemas.SubjectSessionOpen, &schemas.SessionRequest{
		Protocol: schemas.ProtocolVersion, Nickname: c.opt.Nickname, Record: p.Name,
		Source: p.source, Moved: p.Moved, Fingerprint: fingerprint[:], Recheck: p.Recheck || p.again, System: c.opt.System,
	}, &rep)
	if err != nil {
		return nil, c.checkRefusal(err)
	}
	out, err := replica.NewWriter(data, replica.WriterOptions{Status: c.opt.Status, Pace: c.upload.Wait})
	if err != nil {
		return nil, err
	}
	s := &session{
		c: c, keys: p.keys, id: rep.Session, token: rep.Token, parent: rep.Parent, recheck: rep.Recheck || p.Recheck || p.again, vault: schemas.SealedVault(c.opt.Nickname),
		previous: rep.Checkpoint, replicas: replica.NewReader(data, rep.Map), out: out, renewed: make(chan struct{}),
	}
	s.follow(&rep)
	if s.stopWatching, err = replica.WatchMap(data, func(m *schemas.NodeMap) { s.follow(&schemas.SessionReply{Map: m}) }); err != nil {
		out.Close()
		return nil, err
	}
	renewing, stop := context.WithCancel(ctx)
	s.stopRenewing = stop
	go s.renew(renewing, time.Duration(rep.TTL))
	return s, nil
}

// renewAgain is the time until the next renewal after one has failed.
const renewAgain = time.Second

// renew keeps the session alive and the node map fresh until ctx ends. A session that has lapsed is
// opened again by it. Errors are ignored: the next renewal may succeed, and otherwise the commit
// fails and says why.
func (s *session) renew(ctx context.Context, ttl time.Duration) {
	defer close(s.renewed)
	usual := max(ttl/6, time.Second)
	next := time.NewTimer(usual)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			var rep schemas.SessionReply
			err := s.c.ctl.request(ctx, schemas.SubjectSessionRenew, &schemas.RenewRequest{Session: s.id, Token: s.token}, &rep)
			if err != nil {
				next.Reset(renewAgain)
				continue
			}
			s.follow(&rep)
			next.Reset(usual)
		}
	}
}

// follow uses the node map and the durability that a coordinator has sent.
func (s *session) follow(rep *schemas.SessionReply) {
	s.replicas.SetMap(rep.Map)
	s.out.SetMap(rep.Map)
	want := s.replicas.Map().DurabilityOf(s.vault)
	if rep.Durability.K == want.K && rep.Durability.M < want.M {
		s.replicas.AllowDegraded()
	}
}

func (s *session) close() {
	s.stopWatching()
	s.stopRenewing()
	<-s.renewed
	if !s.committing {
		s.end()
	}
	s.out.Close()
}

// endTimeout bounds the time for telling the coordinator that a session ends.
const endTimeout = 2 * time.Second

// end tells the coordinator that the session will not be committed, so that collections need not
// wait until it lapses: they may have to make space for the next backup. It lapses all the same
// if the coordinator is not told.
func (s *session) end() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	var rep schemas.SessionReply
	_ = s.c.ctl.request(ctx, schemas.SubjectSessionRenew, &schemas.RenewRequest{Session: s.id, End: true}, &rep)
}

// saved is what was saved for a new version.
type saved struct {
	archive.Result
	upload.Stats
}

// save sends everything and returns when the nodes have acknowledged all of it.
func (s *session) save(ctx context.Context, p *plan) (*saved, error) {
	memory := transfer.Budget(s.c.opt.MemoryBudget)
	up := upload.New(ctx, upload.Options{
		Keys: s.keys, Vault: s.vault, Session: s.id, Replicas: s.replicas, Writer: s.out,
		Compression: p.Compression, Unchecked: s.c.opt.SkipSelfCheck, Budget: memory, Status: s.c.opt.Status, Wait: s.c.opt.Wait,
	})
	var err error
	if s.keeper, err = s.keep(ctx, up, s.previous); err != nil {
		up.Abandon(err)
		return nil, err
	}
	opt := archive.Options{
		Keys: s.keys, Roots: p.roots, Exclude: p.exclude, Stdin: p.Stdin, Name: p.Name, Reread: p.Reread,
		Budget: memory, Progress: p.Progress, Warn: p.Warn,
	}
	if s.parent != nil && s.parent.RootKind == schemas.Tree {
		opt.Parent = &archive.Parent{
			ID: s.parent.ID, Root: s.parent.Root, Recheck: s.recheck,
			NewGetter: func() tree.Getter {
				return download.NewReader(download.Options{
					Connected: s.c.ctl.nc.IsConnected,
					Keys:      s.keys, Vault: s.vault, Replicas: s.replicas, Status: s.c.opt.Status,
				}).TreeNodes
			},
		}
	}
	done, err := archive.Save(up, opt)
	if err != nil {
		up.Abandon(err)
		if cause := context.Cause(up.Context()); cause != nil {
			err = cause
		}
		return nil, err
	}
	if err := up.Finish(); err != nil {
		return nil, err
	}
	return &saved{Result: *done, Stats: up.Stats()}, nil
}

// commit asks the coordinator for the version. The nodes have acknowledged all its chunks.
func (s *session) commit(ctx context.Context, p *plan, done *saved) (*BackupResult, error) {
	p.label.Root, p.label.Record = done.Root, p.Name
	sealed, err := sealLabel(s.keys, &p.label)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	var rep schemas.CommitReply
	s.committing = true
	err = s.c.ctl.retry(ctx, schemas.SubjectSessionCommit, &schemas.CommitRequest{
		Session: s.id, Root: done.Root, Files: done.Files, Bytes: done.Bytes, Stored: done.Stored,
		Sealed: sealed, Partial: done.Unreadable+done.Incomplete > 0, Token: s.token,
	}, &rep)
	if err != nil {
		return nil, fmt.Errorf("commit the version: %w", err)
	}
	return &BackupResult{
		Version: *rep.Version, Files: done.Files, Bytes: done.Bytes, Unchanged: done.Unchanged,
		System: s.replicas.Map().System,
		Read:   done.Read, Sent: done.Sent, Chunks: done.Chunks, Unreadable: done.Unreadable, Incomplete: done.Incomplete, LeftOut: p.exclude.LeftOut(),
	}, nil
}

// leave is to be called before close if the backup has ended with err. It returns the error that
// says what of it is kept.
func (s *session) leave(ctx context.Context, err error) error {
	if s.keeper == nil {
		return err
	}
	return s.keeper.leave(ctx, err)
}
