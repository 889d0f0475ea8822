package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fake is a backend with prepared answers. It records what it was asked.
type fake struct {
	keyCreated bool
	records    []schemas.Record
	forgotten  []schemas.Record
	nicknames  []string
	versions   []client.VersionInfo
	entries    []*client.Entry
	nodes      []schemas.Node
	content    string // of Cat
	partial    bool   // of the version of Cat
	backup     client.BackupResult
	restore    client.RestoreResult
	takes      time.Duration            // duration of backup and restore
	during     func(p *client.Progress) // called during backup and restore
	warns      map[string]error         // paths that fail
	fails      error                    // error of every call
	status     func(text string)        // set by connect
	options    client.Options           // of connect
	backups    []client.BackupOptions   // asked for
	restores   []client.RestoreOptions  // asked for
	stdin      string                   // read by Backup from "-"
	policy     schemas.PolicyReply
	collection []schemas.Collection // answers of Collect in order; the last one repeats
	state      schemas.StatusReply
	asked      []string // other calls
}

var _ backend = (*fake)(nil)

func (f *fake) Close()           { f.asked = append(f.asked, "close") }
func (f *fake) KeyCreated() bool { return f.keyCreated }

func (f *fake) Backup(ctx context.Context, opt client.BackupOptions) (*client.BackupResult, error) {
	f.backups = append(f.backups, opt)
	if opt.Paths[0] == "-" {
		all, err := io.ReadAll(opt.Stdin)
		if err != nil {
			return nil, err
		}
		f.stdin = string(all)
	}
	if err := f.work(ctx, opt.Progress, opt.Warn); err != nil {
		return nil, err
	}
	return &f.backup, nil
}

func (f *fake) Restore(ctx context.Context, opt client.RestoreOptions) (*client.RestoreResult, error) {
	f.restores = append(f.restores, opt)
	if err := f.work(ctx, opt.Progress, opt.Warn); err != nil {
		return nil, err
	}
	return &f.restore, nil
}

func (f *fake) PreviewBackup(context.Context, client.BackupOptions, func(string, bool, client.Difference)) (*client.BackupPreview, error) {
	return &client.BackupPreview{}, nil
}

func (f *fake) PreviewRestore(context.Context, client.RestoreOptions, func(string, bool, client.Difference)) (*client.RestorePreview, error) {
	return &client.RestorePreview{}, nil
}

// work is the common part of Backup and Restore.
func (f *fake) work(ctx context.Context, p *client.Progress, warn func(string, error)) error {
	for path, err := range f.warns {
		warn(path, err)
	}
	if f.during != nil {
		f.during(p)
	}
	select {
	case <-time.After(f.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	return f.fails
}

func (f *fake) Records(_ context.Context, opt client.ListOptions) ([]schemas.Record, error) {
	if opt.Forgotten {
		return append(slices.Clone(f.records), f.forgotten...), f.fails
	}
	return f.records, f.fails
}

func (f *fake) Nicknames(context.Context) ([]string, error) {
	return slices.Clone(f.nicknames), f.fails
}

func (f *fake) Versions(_ context.Context, record string, opt client.ListOptions) ([]client.VersionInfo, error) {
	f.asked = append(f.asked, "versions "+record)
	if !opt.Forgotten {
		return f.versions, f.fails
	}
	old := testVersion(1)
	old.Forgotten = testTime
	return append(slices.Clone(f.versions), client.VersionInfo{Version: old}), f.fails
}

func (f *fake) Tree(_ context.Context, id, inside string, visit func(*client.Entry) error) error {
	f.asked = append(f.asked, "tree "+id+" "+inside)
	for _, e := range f.entries {
		if err := visit(e); err != nil {
			return err
		}
	}
	return f.fails
}

func (f *fake) Cat(_ context.Context, id, inside string, w io.Writer) (*schemas.Version, error) {
	f.asked = append(f.asked, "cat "+id+" "+inside)
	if _, err := io.WriteString(w, f.content); err != nil {
		return nil, err
	}
	return &schemas.Version{ID: id, Partial: f.partial}, f.fails
}

func (f *fake) Check(_ context.Context, opt client.CheckOptions) (*client.CheckResult, error) {
	f.asked = append(f.asked, fmt.Sprint("check ", opt.ID, " ", opt.Read))
	for path, err := range f.warns {
		opt.Found("photos@3", path, err)
	}
	return &client.CheckResult{Versions: 3, Trees: 40, Chunks: 5000, Read: 250, Bytes: 130_000_000, Damaged: int64(len(f.warns))}, f.fails
}

func (f *fake) Nodes(context.Context) (*schemas.NodeMap, error) {
	return &schemas.NodeMap{Epoch: 1, Nodes: f.nodes}, f.fails
}

func (f *fake) Policy(_ context.Context, set *schemas.Policy, nickname string) (*schemas.PolicyReply, error) {
	if set != nil && set.Durability != nil {
		f.asked = append(f.asked, "durability "+nickname+" "+set.Durability.String())
	}
	return &f.policy, f.fails
}

func (f *fake) SetNodeState(_ context.Context, node string, state schemas.State, force bool) (*schemas.NodeMap, error) {
	f.asked = append(f.asked, fmt.Sprint("node ", node, " ", state, " ", force))
	return &schemas.NodeMap{Epoch: 2, Nodes: f.nodes}, f.fails
}

func (f *fake) Forget(_ context.Context, id string, undo bool) ([]string, error) {
	f.asked = append(f.asked, fmt.Sprint("forget ", id, " ", undo))
	return []string{id + "@1", id + "@2"}, f.fails
}

func (f *fake) Collect(_ context.Context, req *schemas.CollectRequest) (*schemas.Collection, error) {
	c := f.collection[0]
	if len(f.collection) > 1 {
		f.collection = f.collection[1:]
	}
	return &c, f.fails
}

func (f *fake) RebuildCatalogue(context.Context) (*schemas.RebuildReply, error) {
	return &schemas.RebuildReply{Keys: 42, NotAsked: []string{"attic"}, Moved: []schemas.Moved{
		{Nickname: "ana", From: "photos@1", To: "photos@31"}, {Nickname: "rui", From: "letters@2", To: "letters@9"},
	}}, f.fails
}

func (f *fake) Status(context.Context) (*schemas.StatusReply, error) { return &f.state, f.fails }

func (f *fake) Scrub(_ context.Context, node string) ([]string, error) {
	f.asked = append(f.asked, "scrub "+node)
	return []string{"attic"}, f.fails
}

// screen is a buffer that several goroutines may write to.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// cli runs command lines without a process.
type cli struct {
	backend   *fake
	vars      map[string]string // environment variables
	home      string
	in        string
	inTerm    bool  // stdin and stdout are terminals
	errTerm   bool  // stderr is one
	columns   int   // width of the terminals
	homeFails error // why the home folder is unknown; nil: it is home

	limited   int64 // bytes of memory, by --max-memory
	niced     int   // number of calls
	niceFails error

	connectFails error

	out, err screen
}

// newCLI has a configured server and an empty home folder.
func newCLI(t *testing.T) *cli {
	return &cli{
		backend: &fake{},
		home:    t.TempDir(),
		vars:    map[string]string{"BACKUP_SERVER": "nats://127.0.0.1:4222", "LANG": "en_US.UTF-8"},
	}
}

func (c *cli) environment() environment {
	return environment{
		getenv: func(name string) string { return c.vars[name] },
		home:   func() (string, error) { return c.home, c.homeFails },
		user:   func() string { return `DOMAIN\ana` },
		terminal: func(stream any) bool {
			if stream == any(&c.err) {
				return c.errTerm
			}
			return c.inTerm
		},
		columns: func(any) int { return c.columns },
		alive:   func(pid int) bool { return pid == os.Getpid() },
		zone:    time.UTC,
		goos:    "linux",
		connect: func(_ context.Context, opt client.Options) (backend, error) {
			if c.connectFails != nil {
				return nil, c.connectFails
			}
			c.backend.options, c.backend.status = opt, func(text string) { opt.Status(schemas.Sentence{Text: text}) }
			return c.backend, nil
		},
		limitMemory: func(bytes int64) int64 {
			if c.limited += bytes; c.limited > 0 {
				return c.limited
			}
			return memoryTarget
		},
		beNice: func() error {
			c.niced++
			return c.niceFails
		},
	}
}

// run runs one command line and returns its exit code. out and err hold only the output of
// this run.
func (c *cli) run(ctx context.Context, args ...string) int {
	c.out, c.err = screen{}, screen{}
	return run(ctx, args, streams{strings.NewReader(c.in), &c.out, &c.err}, c.environment())
}

// expect runs a command line with fake time and checks the exit code.
func (c *cli) expect(t *testing.T, code int, args ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if got := c.run(t.Context(), args...); got != code {
			t.Fatalf("backup %s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s",
				strings.Join(args, " "), got, code, c.out.String(), c.err.String())
		}
	})
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// contains checks that text contains each of parts.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in:\n%s", part, text)
		}
	}
}
