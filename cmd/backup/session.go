package main

import (
	"context"
	"io"
	"slices"
	"strings"

	"servidor-backup/bus"
	"servidor-backup/client"
	"servidor-backup/schemas"
)

// backend is what commands use of [client.Client].
type backend interface {
	Close()
	KeyCreated() bool
	Backup(ctx context.Context, opt client.BackupOptions) (*client.BackupResult, error)
	PreviewBackup(ctx context.Context, opt client.BackupOptions, visit func(path string, isDir bool, d client.Difference)) (*client.BackupPreview, error)
	PreviewRestore(ctx context.Context, opt client.RestoreOptions, visit func(path string, isDir bool, d client.Difference)) (*client.RestorePreview, error)
	Records(ctx context.Context, opt client.ListOptions) ([]schemas.Record, error)
	Versions(ctx context.Context, record string, opt client.ListOptions) ([]client.VersionInfo, error)
	Tree(ctx context.Context, id, inside string, visit func(*client.Entry) error) error
	Restore(ctx context.Context, opt client.RestoreOptions) (*client.RestoreResult, error)
	Cat(ctx context.Context, id, inside string, w io.Writer) (*schemas.Version, error)
	Check(ctx context.Context, opt client.CheckOptions) (*client.CheckResult, error)
	Nodes(ctx context.Context) (*schemas.NodeMap, error)
	Nicknames(ctx context.Context) ([]string, error)

	Policy(ctx context.Context, set *schemas.Policy, nickname string) (*schemas.PolicyReply, error)
	SetNodeState(ctx context.Context, node string, state schemas.State, force bool) (*schemas.NodeMap, error)
	Forget(ctx context.Context, id string, undo bool) ([]string, error)
	Collect(ctx context.Context, req *schemas.CollectRequest) (*schemas.Collection, error)
	RebuildCatalogue(ctx context.Context) (*schemas.RebuildReply, error)
	Status(ctx context.Context) (*schemas.StatusReply, error)
	Scrub(ctx context.Context, node string) ([]string, error)
}

var _ backend = (*client.Client)(nil)

// session is the client of one command and the settings that it was opened with. The
// command closes it.
type session struct {
	backend
	settings settings
	atEnd    func() // nil is nothing
}

// open connects to the system that the settings name: a server, or a folder (--data) that
// holds backups.
func (a *app) open(ctx context.Context) (*session, error) { return a.connect(ctx, false) }

// openToSave is open for a command that saves: a folder without backups gets an empty
// system.
func (a *app) openToSave(ctx context.Context) (*session, error) { return a.connect(ctx, true) }

func (a *app) connect(ctx context.Context, create bool) (*session, error) {
	s, err := a.config.settings()
	if err != nil {
		return nil, err
	}
	if s.Server.Value == "" && s.Data.Value == "" {
		return nil, a.noServer(a.failHint("no-server", nil, a.t("hint.no-server"), "error.no-server"))
	}
	if s.Server.Value != "" {
		if _, err := serverHosts(a.texts, s.Server.Value); err != nil {
			return nil, err
		}
		a.noticeReadablePassword(&s)
	}
	if err := schemas.CheckNickname(s.Nickname.Value); err != nil {
		return nil, err
	}
	opt := client.Options{
		Server:       s.Server.Value,
		Nickname:     s.Nickname.Value,
		KeyFile:      s.KeyFile.Value,
		Status:       a.waits,
		MemoryBudget: a.memory,
		Wait:         max(a.flags.wait, 0),
	}
	if err := a.config.setLimits(&s, &opt); err != nil {
		return nil, err
	}
	if s.Data.Value != "" {
		if err := a.useData(ctx, s.Data, create, &opt); err != nil {
			return nil, err
		}
	}
	a.expect(&s, &opt)
	a.server = bus.Redact(opt.Server)
	b, err := a.env.connect(ctx, opt)
	if err != nil {
		return nil, err
	}
	if s.Server.Source == "discovery" {
		a.tellChoice(s.Server.Value)
	}
	if create {
		for _, d := range a.config.running() {
			if slices.Contains(serverList(s.Server.Value), d.URL) {
				a.config.remember(d.Data, true)
			}
		}
	}
	if a.local != nil && a.local.readOnly {
		b = readOnly{b, a.readOnlyError(s.Data.Value)}
	}
	return &session{backend: b, settings: s}, nil
}

// openToRead is open for a command that reads what was saved. When the session is closed, it tells
// if another system has answered than the one that the nickname was saved in.
func (a *app) openToRead(ctx context.Context) (*session, error) {
	s, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	if k := a.config.knownSystem(&s.settings); k.System != "" {
		s.atEnd = func() { a.tellOther(ctx, s, &k) }
	}
	return s, nil
}

// Close ends the session.
func (s *session) Close() {
	if s.atEnd != nil {
		s.atEnd()
	}
	s.backend.Close()
}

// latest is what may stand in place of a version's number.
const latest = "@latest"

// resolve turns NAME@latest into the id of the newest version. It returns any other id, and
// the name of a record that itself ends so, as it is.
func (s *session) resolve(ctx context.Context, id string) (string, error) {
	name, ok := strings.CutSuffix(id, latest)
	if !ok {
		return id, nil
	}
	versions, err := s.Versions(ctx, name, client.ListOptions{})
	switch code := schemas.CodeOf(err); {
	case code == schemas.UnknownRecord || code == schemas.UnknownNickname || code == schemas.BadName:
		return id, nil // the request for the id as it is explains itself
	case err != nil || len(versions) == 0:
		return id, err
	}
	return versions[0].ID, nil
}
