package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nuid"

	"servidor-backup/bus/kv"
	"servidor-backup/bus/replica"
	"servidor-backup/coordinator/catalog"
	"servidor-backup/coordinator/internal/session"
	"servidor-backup/coordinator/members"
	"servidor-backup/schemas"
)

// openTries is how often the parent may be collected while a session on it is being opened.
const openTries = 10

// openSession answers backup.session.open.
func (c *Coordinator) openSession(ctx context.Context, req *schemas.SessionRequest) (any, error) {
	if err := checkSession(req); err != nil {
		return nil, err
	}
	destinations, err := members.FindDestinations(c.members.Map(), schemas.SealedVault(req.Nickname), false)
	if err != nil {
		return nil, err
	}
	if err := c.copies.checkKnown(ctx); err != nil {
		return nil, err
	}
	// The map is from before the question that may have found out which system this is.
	destinations.Map.System = c.catalog.SystemID()
	if err := checkSystem(destinations.Map.System, req.System); err != nil {
		return nil, err
	}
	if err := c.catalog.EnterVault(ctx, req.Nickname, req.Fingerprint); err != nil {
		return nil, err
	}
	for range openTries {
		rep, err := c.tryOpenSession(ctx, req, destinations)
		if err != nil || rep != nil {
			return rep, err
		}
	}
	return nil, schemas.Explain(schemas.Unavailable, "record-in-collection", "the versions of \"{record}\" are being collected: try again", "record", req.Record)
}

// checkSystem refuses a client that expects another system. One of them may not be known.
func checkSystem(system, expected string) error {
	if system == "" || expected == "" || system == expected {
		return nil
	}
	return schemas.Explain(schemas.OtherSystem, "another-system", "this is the system {system}, and not {expected}", "system", system, "expected", expected)
}

// tryOpenSession opens a session; nil if its parent was collected meanwhile.
func (c *Coordinator) tryOpenSession(ctx context.Context, req *schemas.SessionRequest, destinations *members.Destinations) (*schemas.SessionReply, error) {
	generation, err := c.catalog.Generation(ctx) // before anything that a collection could remove
	if err != nil {
		return nil, err
	}
	h, err := c.catalog.Head(ctx, req.Nickname, req.Record)
	if err != nil {
		return nil, err
	}
	if err := catalog.CheckSource(&h, req.Source, true, req.Moved); err != nil {
		return nil, err
	}
	s := &session.Session{
		ID: nuid.Next(), Nickname: req.Nickname, Record: req.Record, Source: req.Source, Fingerprint: req.Fingerprint,
		Moved: req.Moved, Opened: time.Now().UnixNano(), Parent: h.Latest, Since: h.Highest, Generation: generation,
		Durability: destinations.Wanted, Degraded: destinations.Degraded(),
	}
	rep := &schemas.SessionReply{Reply: schemas.OK, Session: s.ID, TTL: int64(c.opt.SessionTTL),
		Durability: destinations.Durability, Map: destinations.Map}
	if h.Latest > 0 {
		rep.Parent, err = c.catalog.Version(ctx, req.Nickname, req.Record, h.Latest)
		if schemas.CodeOf(err) == schemas.UnknownVersion {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		s.ParentRoot = rep.Parent.Root
	}
	checkpoint, err := c.catalog.Checkpoint(ctx, req.Nickname, req.Record)
	if err != nil {
		return nil, err
	}
	if s.HasCheckpoint = checkpoint != nil; s.HasCheckpoint && checkpoint.Source == req.Source {
		rep.Checkpoint = checkpoint.Message()
	}
	basedOn := rep.Parent
	if req.Recheck {
		basedOn = nil
	}
	s.Basis, s.Trusted = c.members.BasisOf(destinations, basedOn)
	rep.Recheck = rep.Parent != nil && !s.Trusted
	if rep.Token, err = s.Token(); err != nil {
		return nil, err
	}
	if err := c.sessions.Create(ctx, s); err != nil {
		return nil, err
	}
	// A collection that does not see the session has deleted forgotten versions before. So a
	// parent that still exists now is kept by every collection as long as the session is open.
	if rep.Parent != nil {
		exists, err := c.catalog.HasVersion(ctx, s.Nickname, s.Record, s.Parent)
		if err != nil || !exists {
			return nil, errors.Join(err, c.sessions.Delete(ctx, s.ID))
		}
	}
	c.event(schemas.EventSessionOpened, s.ID, s.Nickname, "%s began to save %s", s.Nickname, s.Record)
	return rep, nil
}

// fingerprintSize is the length of a key's fingerprint in bytes.
const fingerprintSize = 16

func checkSession(req *schemas.SessionRequest) error {
	if req.Protocol > schemas.ProtocolVersion {
		return schemas.Explain(schemas.TooNew, "client-too-new", "the client speaks protocol {protocol}, this coordinator speaks {own}: update the coordinator", "protocol", req.Protocol, "own", schemas.ProtocolVersion)
	}
	if err := schemas.CheckNickname(req.Nickname); err != nil {
		return err
	}
	if err := schemas.CheckRecord(req.Record); err != nil {
		return err
	}
	if len(req.Fingerprint) != fingerprintSize {
		return schemas.Errorf(schemas.BadRequest, "the key's fingerprint has %d bytes, %d are needed", len(req.Fingerprint), fingerprintSize)
	}
	return nil
}

// renewSession answers backup.session.renew.
func (c *Coordinator) renewSession(ctx context.Context, req *schemas.RenewRequest) (any, error) {
	rep := &schemas.SessionReply{Reply: schemas.OK, Session: req.Session, TTL: int64(c.opt.SessionTTL)}
	if _, err := c.getSession(ctx, req.Session, req.Token); err != nil {
		return nil, err
	}
	s, err := c.sessions.Renew(ctx, req.Session, func(s *session.Session) {
		rep.Durability, rep.Map = s.Durability, nil
		s.HasCheckpoint = s.HasCheckpoint || req.Checkpoint != nil
		destinations, err := members.FindDestinations(c.members.Map(), schemas.SealedVault(s.Nickname), false)
		if err != nil || destinations.Durability.K != s.Durability.K {
			// The session continues when nodes come back, with the durability it began with.
			return
		}
		rep.Map, rep.Durability.M = destinations.Map, min(destinations.Durability.M, s.Durability.M)
		s.LimitMargin(rep.Durability.M)
	})
	if err != nil {
		return nil, err
	}
	if rep.Map == nil {
		rep.Map, rep.Durability = c.members.Map(), s.Durability
	}
	if req.Checkpoint != nil && s.Committed == 0 {
		// The session says that there is one before it is written, so that its commit removes it.
		saved, err := c.catalog.SaveCheckpoint(ctx, &catalog.Checkpoint{Nickname: s.Nickname, Record: s.Record, Source: s.Source,
			Root: req.Checkpoint.Root, Bytes: req.Checkpoint.Bytes})
		if err != nil {
			return nil, err
		}
		rep.Checkpoint = saved.Message()
	}
	if req.End && s.Committed == 0 {
		return rep, c.sessions.Delete(ctx, s.ID)
	}
	return rep, nil
}

// commitSession answers backup.session.commit.
func (c *Coordinator) commitSession(ctx context.Context, req *schemas.CommitRequest) (any, error) {
	if err := c.copies.checkKnown(ctx); err != nil {
		return nil, err
	}
	s, err := c.getSession(ctx, req.Session, req.Token)
	if err != nil {
		return nil, err
	}
	if s.Committed > 0 {
		v, err := c.catalog.VersionOf(ctx, s.ID, s.Nickname, s.Record, s.Committed)
		return &schemas.CommitReply{Reply: schemas.OK, Version: v}, err
	}
	if err := checkCommit(req); err != nil {
		return nil, err
	}
	vault := schemas.SealedVault(s.Nickname)
	var parent schemas.ChunkID
	if s.Trusted && c.members.Holds(s.Basis) {
		parent = s.ParentRoot
	}
	newReader := func() *replica.Reader { return replica.NewReader(c.nc, c.members.Map()) }
	if err := verify(ctx, newReader, vault, req.Root, parent, s.Reopened > 0); err != nil {
		return nil, err
	}
	// The check takes time, and no collection sees a session that has lapsed meanwhile. So the
	// session is renewed, and the version must be created well before it can lapse again.
	ctx, cancel := context.WithTimeout(ctx, c.opt.SessionTTL/2)
	defer cancel()
	opening := s.Reopened
	s, err = c.sessions.Renew(ctx, s.ID, func(s *session.Session) {
		if destinations, err := members.FindDestinations(c.members.Map(), vault, false); err == nil && destinations.Degraded() {
			s.Degraded = true
		}
	})
	if err == nil && s.Reopened != opening || schemas.CodeOf(err) == schemas.UnknownSession && len(req.Token) > 0 {
		err = schemas.Explain(schemas.Unavailable, "session-lapsed", "the session {session} lapsed while its version was checked: try again", "session", req.Session)
	}
	if err != nil {
		return nil, err
	}
	v, err := c.catalog.Commit(ctx, &schemas.Version{
		Nickname: s.Nickname, Record: s.Record, Vault: vault, Root: req.Root, RootKind: schemas.Tree,
		Files: req.Files, Bytes: req.Bytes, Stored: req.Stored, Durability: s.Durability, Degraded: s.Degraded,
		Session: s.ID, Source: s.Source, Sealed: req.Sealed, Partial: req.Partial,
		Epoch: s.Basis.Epoch, Tolerates: s.Basis.Tolerates, Losses: s.Basis.Losses,
	}, s.Since, s.Moved)
	if err != nil {
		return nil, err
	}
	if s.HasCheckpoint { // the version has taken its place
		if _, err := c.catalog.RemoveCheckpoint(ctx, s.Nickname, s.Record); err != nil {
			c.opt.Log.Warn("a checkpoint could not be removed", "nickname", s.Nickname, "record", s.Record, "error", err)
		}
	}
	if err := c.sessions.Close(ctx, s.ID, v.Number); err != nil {
		c.opt.Log.Warn("a session could not be closed", "session", s.ID, "error", err)
	}
	c.event(schemas.EventVersionCommitted, v.ID, v.Nickname, "%s saved %s: %d files, %d bytes, %d of them new", v.Nickname, v.ID, v.Files, v.Bytes, v.Stored)
	return &schemas.CommitReply{Reply: schemas.OK, Version: v}, nil
}

// maxSealed bounds the sealed part of a version, in bytes: a version travels in lists and with
// every session that builds on it.
const maxSealed = 256 << 10

func checkCommit(req *schemas.CommitRequest) error {
	switch {
	case len(req.Sealed) > maxSealed:
		return schemas.Explain(schemas.TooLarge, "too-many-paths", "the sealed part of the version has {bytes} bytes, at most {limit-bytes} are allowed: save fewer paths under one name", "bytes", len(req.Sealed), "limit-bytes", maxSealed)
	case req.Files < 0 || req.Bytes < 0 || req.Stored < 0:
		return schemas.Errorf(schemas.BadRequest, "a count in the commit is negative")
	}
	return nil
}

// getSession reads a session. One that has lapsed is opened again if the client has sent its token.
func (c *Coordinator) getSession(ctx context.Context, id string, token []byte) (*session.Session, error) {
	s, _, err := c.sessions.Get(ctx, id)
	if schemas.CodeOf(err) != schemas.UnknownSession || len(token) == 0 {
		return s, err
	}
	if err := c.reopenSession(ctx, id, token); err != nil {
		return nil, err
	}
	s, _, err = c.sessions.Get(ctx, id)
	return s, err
}

// reopenSession opens a session again that has lapsed: its client was asleep, or no coordinator
// could be reached for that long. It keeps its id, so that it becomes at most one version, even if
// it lapsed while the answer to its commit was on the way.
//
// What a collection may have removed meanwhile:
//
//   - Chunks that the session has put or asked for. Its new generation does not cover them, so the
//     commit pins every chunk of the new part of the tree before it trusts the answer; see
//     [verify]. A commit that misses some is refused, and the client saves again.
//   - The parent. Without it nothing is taken to be held, and the whole tree is checked.
//
// The basis stays that of the first opening: nodes that were lost since then count.
func (c *Coordinator) reopenSession(ctx context.Context, id string, token []byte) error {
	s, err := session.FromToken(id, token)
	if err != nil {
		return err
	}
	if err := checkSession(&schemas.SessionRequest{Nickname: s.Nickname, Record: s.Record, Fingerprint: s.Fingerprint}); err != nil {
		return err
	}
	if err := c.copies.checkKnown(ctx); err != nil {
		return err
	}
	if err := c.catalog.EnterVault(ctx, s.Nickname, s.Fingerprint); err != nil {
		return err
	}
	// As in tryOpenSession: the generation is read first, and the parent is looked for once more
	// when the session can be seen by collections.
	if s.Generation, err = c.catalog.Generation(ctx); err != nil {
		return err
	}
	s.Reopened, s.Committed = time.Now().UnixNano(), 0
	exists, err := c.hasParent(ctx, s)
	if err != nil {
		return err
	}
	if !exists {
		dropParent(s)
	}
	if err := c.sessions.Create(ctx, s); err != nil {
		if errors.Is(err, kv.ErrExists) {
			return nil // another request was faster
		}
		return err
	}
	if exists, err = c.hasParent(ctx, s); err == nil && !exists {
		_, err = c.sessions.Renew(ctx, s.ID, dropParent)
	}
	if err == nil {
		c.opt.Log.Info("a session that had lapsed goes on", "session", s.ID, "nickname", s.Nickname, "record", s.Record)
	}
	return err
}

// hasParent reports whether the catalogue still has the version that the session builds on; true
// if it builds on none.
func (c *Coordinator) hasParent(ctx context.Context, s *session.Session) (bool, error) {
	if s.Parent == 0 {
		return true, nil
	}
	v, err := c.catalog.Version(ctx, s.Nickname, s.Record, s.Parent)
	switch schemas.CodeOf(err) {
	case schemas.UnknownNickname, schemas.UnknownRecord, schemas.UnknownVersion:
		return false, nil
	}
	// A rebuilt catalogue may have given the number to another version.
	return err == nil && v.Root == s.ParentRoot, err
}

// dropParent makes a session build on nothing.
func dropParent(s *session.Session) {
	s.Parent, s.ParentRoot, s.Trusted = 0, schemas.ChunkID{}, false
}
