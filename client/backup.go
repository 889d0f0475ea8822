package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/archive"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/upload"
	"servidor-backup/schemas"
)

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
	ctx, cancel := c.watchServer(ctx)
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
	k       *seal.Keys
	roots   []scan.Root // none for stdin
	exclude *scan.Matcher
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
	if p.exclude, err = scan.NewMatcher(opt.Exclude); err != nil {
		return nil, err
	}
	p.exclude.ExcludeFolders(opt.Without)
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
	p.source = c.key.SourceID(c.host, strings.Join(p.label.Paths, "\x00"))
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
	if p.roots, err = scan.NewRoots(p.Paths); err != nil {
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
	k       *seal.Keys
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
	err = c.requestOrRetry(ctx, schemas.SubjectSessionOpen, &schemas.SessionRequest{
		Protocol: schemas.ProtocolVersion, Nickname: c.opt.Nickname, Record: p.Name,
		Source: p.source, Moved: p.Moved, Fingerprint: fingerprint[:],
	}, &rep)
	if err != nil {
		return nil, err
	}
	out, err := replica.NewWriter(data, replica.WriterOptions{Status: c.opt.Status, Pace: c.upload.Wait})
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

// saved is what was sent for a new version.
type saved struct {
	archive.Result
	upload.Stats
}

// save sends everything and returns when all of it is acknowledged.
func (s *session) save(ctx context.Context, p *plan) (*saved, error) {
	memory := transfer.Budget(s.c.opt.Room)
	up := upload.New(ctx, upload.Options{
		Keys: s.k, Vault: s.vault, Session: s.id, Replicas: s.holders, Writer: s.out,
		Compression: p.Compression, Unchecked: s.c.opt.SkipSelfCheck, Budget: memory, Status: s.c.opt.Status,
	})
	opt := archive.Options{
		Keys: s.k, Roots: p.roots, Exclude: p.exclude, Stdin: p.Stdin, Name: p.Name,
		Budget: memory, Progress: p.Progress, Warn: p.Warn,
	}
	if s.parent != nil && s.parent.RootKind == schemas.Tree {
		opt.Parent = &archive.Parent{
			ID: s.parent.ID, Root: s.parent.Root, Recheck: s.recheck,
			Get: download.NewReader(download.Options{
				Keys: s.k, Vault: s.vault, Replicas: s.holders, Status: s.c.opt.Status,
			}).TreeNodes,
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

// commit asks for the version. Everything below it has been acknowledged.
func (s *session) commit(ctx context.Context, p *plan, done *saved) (*BackupResult, error) {
	p.label.Root, p.label.Record = done.Root, p.Name
	sealed, err := sealLabel(s.k, &p.label)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	var rep schemas.CommitReply
	err = s.c.retry(ctx, schemas.SubjectSessionCommit, &schemas.CommitRequest{
		Session: s.id, Root: done.Root, Files: done.Files, Bytes: done.Bytes, Stored: done.Stored,
		Sealed: sealed, Partial: done.Unreadable > 0,
	}, &rep)
	if err != nil {
		return nil, fmt.Errorf("commit the version: %w", err)
	}
	return &BackupResult{
		Version: *rep.Version, Files: done.Files, Bytes: done.Bytes, Unchanged: done.Unchanged,
		Read: done.Read, Sent: done.Sent, Chunks: done.Chunks, Unreadable: done.Unreadable,
	}, nil
}

// commitTime is how long the coordinator may check a new version's edges: some
// millions of chunks.
const commitTime = 10 * time.Minute
