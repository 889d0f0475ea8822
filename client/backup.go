package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

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

// BackupOptions says what to save.
type BackupOptions struct {
	// Paths are files and folders, or the one path "-" for Stdin.
	Paths []string
	Stdin io.Reader
	// Name is the record's; default: the base name of the one path.
	Name string
	// Exclude are globs of what to leave out.
	Exclude []string
	// Without are folders that are left out wherever they are met, such as the
	// one in which the backups themselves grow. Those that are not there do not
	// matter.
	Without []string
	// Compression says how much time may be spent on making chunks smaller.
	Compression Compression
	// Moved says that the record goes on although its source is another one.
	Moved bool
	// Progress and Warn may be nil. Warn hears of every path that could not be
	// saved whole, from several goroutines.
	Progress *Progress
	Warn     func(path string, err error)
}

// BackupResult is what a backup did.
type BackupResult struct {
	Version    schemas.Version
	Files      int64 // entries in the version that are not folders
	Bytes      int64 // their content
	Unchanged  int64 // files that were not read again
	Read       int64 // bytes that were read from files
	Sent       int64 // bytes that went to nodes, each copy counted once
	Chunks     int64 // new chunks
	Unreadable int64 // paths that could not be saved whole
}

// Backup saves paths as a new version of a record. Paths that cannot be read are
// left out and counted; everything else that goes wrong is an error, and then
// there is no new version. What was sent before is not sent again by the next
// backup.
func (c *Client) Backup(ctx context.Context, opt BackupOptions) (*BackupResult, error) {
	p, err := c.plan(opt)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.watched(ctx)
	defer cancel(nil)
	s, err := c.openSession(ctx, p)
	if err != nil {
		return nil, err
	}
	defer s.close()
	root, err := s.save(ctx, p)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	return s.commit(ctx, p, root)
}

// plan is what a backup is going to do, checked before anything is done.
type plan struct {
	BackupOptions
	k       *keys
	roots   []root // none for stdin
	exclude *matcher
	label   label
	source  schemas.SourceID
}

func (c *Client) plan(opt BackupOptions) (*plan, error) {
	if opt.Progress == nil {
		opt.Progress = &Progress{}
	}
	if opt.Warn == nil {
		opt.Warn = func(string, error) {}
	}
	p := &plan{BackupOptions: opt, label: label{Host: c.host}}
	var err error
	if p.exclude, err = newMatcher(opt.Exclude); err != nil {
		return nil, err
	}
	p.exclude.without(opt.Without)
	if slices.Contains(opt.Paths, "-") {
		err = p.fromStdin()
	} else {
		err = p.fromPaths()
	}
	if err != nil {
		return nil, err
	}
	if err := schemas.CheckRecord(p.Name); err != nil {
		return nil, fmt.Errorf("%w: choose one with --name", err)
	}
	if p.k, err = c.vaultKeys(true); err != nil {
		return nil, err
	}
	p.source = SourceID(c.key, c.host, strings.Join(p.label.Paths, "\x00"))
	return p, nil
}

// maxPaths bounds the bytes of all paths of one backup: they are part of the
// version's record in the catalogue.
const maxPaths = 128 << 10

func (p *plan) fromStdin() error {
	switch {
	case len(p.Paths) > 1:
		return errors.New("standard input (-) can only be saved alone")
	case p.Name == "":
		return errors.New("what comes from standard input needs a name: give one with --name")
	case p.Stdin == nil:
		return errors.New("there is no standard input to save")
	}
	p.label.Paths = []string{"-"}
	return nil
}

func (p *plan) fromPaths() (err error) {
	if p.roots, err = newRoots(p.Paths); err != nil {
		return err
	}
	for _, r := range p.roots {
		p.label.Paths = append(p.label.Paths, r.Abs)
	}
	if len(p.roots) == 1 {
		abs, err := filepath.Abs(p.Paths[0])
		if err != nil {
			return err
		}
		base := filepath.Base(abs)
		if base == string(filepath.Separator) {
			base = "root"
		}
		if p.roots[0].Path == "." {
			p.label.Top = base
		}
		if p.Name == "" {
			p.Name = base
		}
	}
	if n := len(strings.Join(p.label.Paths, "")); n > maxPaths {
		return fmt.Errorf("the names of the %d paths have %d bytes together, a version takes %d: save a folder that holds them", len(p.roots), n, maxPaths)
	}
	if p.Name == "" {
		return errors.New("several paths need a name for the record: give one with --name")
	}
	return nil
}

// session is an open session on the coordinator, with what sends its chunks.
type session struct {
	c       *Client
	k       *keys
	id      string
	parent  *schemas.Version
	recheck bool // the parent's chunks may be lost
	vault   schemas.VaultID
	holders *replica.Reader
	out     *replica.Writer
	stop    context.CancelFunc
	deaf    func()        // ends the following of the map
	renewed chan struct{} // closed when the renewing has ended
}

func (c *Client) openSession(ctx context.Context, p *plan) (*session, error) {
	data, err := c.dataConn(ctx)
	if err != nil {
		return nil, err
	}
	fingerprint := c.key.Fingerprint()
	var rep schemas.SessionReply
	err = c.begin(ctx, schemas.SubjectSessionOpen, &schemas.SessionRequest{
		Protocol: schemas.ProtocolVersion, Nickname: c.opt.Nickname, Record: p.Name,
		Source: p.source, Moved: p.Moved, Fingerprint: fingerprint[:],
	}, &rep)
	if err != nil {
		return nil, err
	}
	out, err := replica.NewWriter(data, replica.WriterOptions{Status: c.opt.Status, Pace: c.upload.wait})
	if err != nil {
		return nil, err
	}
	s := &session{
		c: c, k: p.k, id: rep.Session, parent: rep.Parent, recheck: rep.Recheck, vault: schemas.SealedVault(c.opt.Nickname),
		holders: replica.NewReader(data, rep.Map), out: out, renewed: make(chan struct{}),
	}
	s.follow(&rep)
	if s.deaf, err = replica.WatchMap(data, func(m *schemas.NodeMap) { s.follow(&schemas.SessionReply{Map: m}) }); err != nil {
		out.Close()
		return nil, err
	}
	renewing, stop := context.WithCancel(ctx)
	s.stop = stop
	go s.renew(renewing, time.Duration(rep.TTL))
	return s, nil
}

// renew keeps the session alive and the map fresh. A renewal that fails is made
// good by the next, or the commit says what happened.
func (s *session) renew(ctx context.Context, ttl time.Duration) {
	defer close(s.renewed)
	tick := time.NewTicker(max(ttl/6, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			var rep schemas.SessionReply
			if err := s.c.request(ctx, schemas.SubjectSessionRenew, &schemas.RenewRequest{Session: s.id}, &rep); err == nil {
				s.follow(&rep)
			}
		}
	}
}

// follow takes over what a coordinator says of the nodes.
func (s *session) follow(rep *schemas.SessionReply) {
	s.holders.SetMap(rep.Map)
	s.out.SetMap(rep.Map)
	want := s.holders.Map().DurabilityOf(s.vault)
	if rep.Durability.K == want.K && rep.Durability.M < want.M {
		s.holders.AllowDegraded()
	}
}

func (s *session) close() {
	s.deaf()
	s.stop()
	<-s.renewed
	s.out.Close()
}

// saved is what the tree of a new version contains.
type saved struct {
	root                                      schemas.ChunkID
	files, bytes, unchanged, read, unreadable int64
	stored, sent, chunks                      int64
}

// save sends everything and returns when all of it is acknowledged.
func (s *session) save(ctx context.Context, p *plan) (*saved, error) {
	seal := sealOptions{Compression: p.Compression, Unchecked: s.c.opt.SkipSelfCheck}.adaptive(runtime.GOMAXPROCS(0))
	up := newUploader(ctx, s.k, s.vault, s.id, s.holders, s.out, seal, room(s.c.opt.Room), s.c.opt.Status)
	sv := newSaver(up, p)
	if s.parent != nil && s.parent.RootKind == schemas.Tree {
		get := treeGetter(s.k, newSource(s.vault, s.holders, s.c.opt.Status))
		sv.recheck = s.recheck
		sv.parent = newParentTree(up.ctx, newTreeReader(get, s.parent.Root), s.parent.ID)
	}
	done, err := sv.run(up.ctx)
	if err != nil {
		up.abandon(err)
		if cause := context.Cause(up.ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	if err := up.finish(); err != nil {
		return nil, err
	}
	done.stored, done.sent, done.chunks = up.stored.Load(), up.sent.Load(), up.chunks.Load()
	return done, nil
}

// commit asks for the version. Everything below it has been acknowledged.
func (s *session) commit(ctx context.Context, p *plan, done *saved) (*BackupResult, error) {
	p.label.Root, p.label.Record = done.root, p.Name
	sealed, err := s.k.sealLabel(&p.label)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	var rep schemas.CommitReply
	err = s.c.insist(ctx, schemas.SubjectSessionCommit, &schemas.CommitRequest{
		Session: s.id, Root: done.root, Files: done.files, Bytes: done.bytes, Stored: done.stored,
		Sealed: sealed, Partial: done.unreadable > 0,
	}, &rep)
	if err != nil {
		return nil, fmt.Errorf("commit the version: %w", err)
	}
	return &BackupResult{
		Version: *rep.Version, Files: done.files, Bytes: done.bytes, Unchanged: done.unchanged,
		Read: done.read, Sent: done.sent, Chunks: done.chunks, Unreadable: done.unreadable,
	}, nil
}

// commitTime is how long the coordinator may check a new version's edges: some
// millions of chunks.
const commitTime = 10 * time.Minute
