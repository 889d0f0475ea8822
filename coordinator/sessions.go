package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nuid"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// session is what the bucket knows of a bulk session. It lapses with the
// bucket's TTL unless it is renewed, and stays for as long after its commit, so
// that a commit whose answer was lost can be asked again.
type session struct {
	ID        string           `msgpack:"id"`
	Nickname  string           `msgpack:"apelido"`
	Record    string           `msgpack:"nome_arquivo"`
	Source    schemas.SourceID `msgpack:"source"`
	Moved     bool             `msgpack:"moved,omitempty"`
	Opened    int64            `msgpack:"opened"` // Unix ns
	Committed uint64           `msgpack:"committed,omitempty"`

	// What it builds on: a version's number (0 for none) and root, which a collection
	// keeps as long as the session is open, and the record's highest number.
	Parent     uint64          `msgpack:"parent"`
	ParentRoot schemas.ChunkID `msgpack:"parent_root"`
	Since      uint64          `msgpack:"since"`
	// Generation is that of the newest collection when it was opened, or an older one:
	// what it was told to be held, or has put, is of this generation or a later one.
	Generation uint32 `msgpack:"generation"`

	Durability schemas.Durability `msgpack:"durability"` // the vault's
	Degraded   bool               `msgpack:"degraded,omitempty"`
	Basis      basis              `msgpack:"basis"`
	Trusted    bool               `msgpack:"trusted,omitempty"` // what was held with the parent was taken to be held
}

// openSession answers backup.session.open.
func (c *Coordinator) openSession(ctx context.Context, req *schemas.SessionRequest) (any, error) {
	if err := checkSession(req); err != nil {
		return nil, err
	}
	room, err := c.members.room(schemas.SealedVault(req.Nickname), false)
	if err != nil {
		return nil, err
	}
	if err := c.records.enterVault(ctx, req.Nickname, req.Fingerprint); err != nil {
		return nil, err
	}
	for range openTries {
		rep, err := c.tryOpen(ctx, req, room)
		if err != nil || rep != nil {
			return rep, err
		}
	}
	return nil, schemas.Errorf(schemas.Unavailable, "the versions of %q are being collected: try again", req.Record)
}

// openTries is how often the parent may have been collected while a session on it was
// being opened.
const openTries = 10

// tryOpen opens a session; nil if what it was to build on was collected meanwhile.
func (c *Coordinator) tryOpen(ctx context.Context, req *schemas.SessionRequest, room *room) (*schemas.SessionReply, error) {
	generation, err := c.state.generation(ctx) // before anything that a collection could take
	if err != nil {
		return nil, err
	}
	h, err := c.records.head(ctx, req.Nickname, req.Record)
	if err != nil {
		return nil, err
	}
	if err := checkSource(&h, req.Source, true, req.Moved); err != nil {
		return nil, err
	}
	s := &session{
		ID: nuid.Next(), Nickname: req.Nickname, Record: req.Record, Source: req.Source,
		Moved: req.Moved, Opened: time.Now().UnixNano(), Parent: h.Latest, Since: h.Highest, Generation: generation,
		Durability: room.wanted, Degraded: room.degraded(),
	}
	rep := &schemas.SessionReply{Reply: schemas.OK, Session: s.ID, TTL: int64(c.opt.SessionTTL),
		Durability: room.durability, Map: room.nodes}
	if h.Latest > 0 {
		rep.Parent, err = c.records.version(ctx, req.Nickname, req.Record, h.Latest)
		if schemas.CodeOf(err) == schemas.UnknownVersion {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		s.ParentRoot = rep.Parent.Root
	}
	s.Basis, s.Trusted = c.members.on(room, rep.Parent)
	rep.Recheck = rep.Parent != nil && !s.Trusted
	if _, err = c.sessions.Create(ctx, s.ID, s); err != nil {
		return nil, err
	}
	// A collection that does not see the session has deleted before what it does not
	// keep. So whoever still finds its parent now can build on it.
	if rep.Parent != nil {
		there, err := c.records.kv.Exists(ctx, versionKey(s.Nickname, s.Record, s.Parent))
		if err != nil || !there {
			return nil, errors.Join(err, c.sessions.Delete(ctx, s.ID))
		}
	}
	c.event(schemas.EventSessionOpened, s.ID, s.Nickname, "%s began to save %s", s.Nickname, s.Record)
	return rep, nil
}

func checkSession(req *schemas.SessionRequest) error {
	if req.Protocol > schemas.ProtocolVersion {
		return schemas.Errorf(schemas.TooNew, "the client speaks protocol %d, this coordinator speaks %d: update the coordinator", req.Protocol, schemas.ProtocolVersion)
	}
	if err := schemas.CheckNickname(req.Nickname); err != nil {
		return err
	}
	if err := schemas.CheckRecord(req.Record); err != nil {
		return err
	}
	if len(req.Fingerprint) != 16 {
		return schemas.Errorf(schemas.BadRequest, "the key's fingerprint has %d bytes, 16 are needed", len(req.Fingerprint))
	}
	return nil
}

// renewSession answers backup.session.renew.
func (c *Coordinator) renewSession(ctx context.Context, req *schemas.RenewRequest) (any, error) {
	rep := &schemas.SessionReply{Reply: schemas.OK, Session: req.Session, TTL: int64(c.opt.SessionTTL)}
	s, err := c.renew(ctx, req.Session, func(s *session) {
		rep.Durability, rep.Map = s.Durability, nil
		room, err := c.members.room(schemas.SealedVault(s.Nickname), false)
		if err != nil || room.durability.K != s.Durability.K {
			// It goes on when nodes come back, and as it began.
			return
		}
		rep.Map, rep.Durability.M = room.nodes, min(room.durability.M, s.Durability.M)
		s.lessen(rep.Durability.M)
	})
	if err != nil {
		return nil, err
	}
	if rep.Map == nil {
		rep.Map, rep.Durability = c.members.nodeMap(), s.Durability
	}
	return rep, nil
}

// lessen notes that some of the session bears the loss of m nodes only.
func (s *session) lessen(m uint8) {
	s.Degraded = s.Degraded || m < s.Durability.M
	s.Basis.Tolerates = min(s.Basis.Tolerates, m)
}

// renew writes a session again, so that it has its whole time before it.
func (c *Coordinator) renew(ctx context.Context, id string, change func(*session)) (*session, error) {
	for {
		s, revision, err := c.session(ctx, id)
		if err != nil {
			return nil, err
		}
		change(s)
		if _, err = c.sessions.Update(ctx, s.ID, s, revision); !errors.Is(err, kv.ErrConflict) {
			return s, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func (c *Coordinator) session(ctx context.Context, id string) (*session, uint64, error) {
	s := new(session)
	if id == "" || kv.Token(id) != id {
		return nil, 0, schemas.Errorf(schemas.BadRequest, "%q is not a session's id", id)
	}
	revision, err := c.sessions.Get(ctx, id, s)
	if errors.Is(err, kv.ErrNotFound) {
		err = schemas.Errorf(schemas.UnknownSession, "the session %s has lapsed or never was: begin again, what has been stored is not sent twice", id)
	}
	return s, revision, err
}

// commitSession answers backup.session.commit.
func (c *Coordinator) commitSession(ctx context.Context, req *schemas.CommitRequest) (any, error) {
	s, _, err := c.session(ctx, req.Session)
	if err != nil {
		return nil, err
	}
	if s.Committed > 0 {
		v, err := c.records.bySession(ctx, s)
		return &schemas.CommitReply{Reply: schemas.OK, Version: v}, err
	}
	if err := checkCommit(req); err != nil {
		return nil, err
	}
	vault := schemas.SealedVault(s.Nickname)
	var parent schemas.ChunkID
	if s.Trusted && c.members.holds(s.Basis) {
		parent = s.ParentRoot
	}
	if err := c.verify(ctx, vault, req.Root, parent); err != nil {
		return nil, err
	}
	// Checking takes its time. A session that has lapsed meanwhile is none that a
	// collection has seen, and from here on there is the time that it has again.
	ctx, cancel := context.WithTimeout(ctx, c.opt.SessionTTL/2)
	defer cancel()
	s, err = c.renew(ctx, s.ID, func(s *session) {
		if room, err := c.members.room(vault, false); err == nil && room.degraded() {
			s.Degraded = true
		}
	})
	if err != nil {
		return nil, err
	}
	v, err := c.records.commit(ctx, &schemas.Version{
		Nickname: s.Nickname, Record: s.Record, Vault: vault, Root: req.Root, RootKind: schemas.Tree,
		Files: req.Files, Bytes: req.Bytes, Stored: req.Stored, Durability: s.Durability, Degraded: s.Degraded,
		Session: s.ID, Source: s.Source, Sealed: req.Sealed, Partial: req.Partial,
		Epoch: s.Basis.Epoch, Tolerates: s.Basis.Tolerates,
	}, s.Since, s.Moved)
	if err != nil {
		return nil, err
	}
	c.closeSession(ctx, s.ID, v.Number)
	c.event(schemas.EventVersionCommitted, v.ID, v.Nickname, "%s saved %s: %d files, %d bytes, %d of them new", v.Nickname, v.ID, v.Files, v.Bytes, v.Stored)
	return &schemas.CommitReply{Reply: schemas.OK, Version: v}, nil
}

// bySession is the version that a session became, which may have got another number since.
func (r *records) bySession(ctx context.Context, s *session) (*schemas.Version, error) {
	v, err := r.version(ctx, s.Nickname, s.Record, s.Committed)
	if err == nil && v.Session == s.ID || err != nil && schemas.CodeOf(err) != schemas.UnknownVersion {
		return v, err
	}
	all, err := r.versions(ctx, s.Nickname, s.Record, 0)
	for i := range all {
		if all[i].Session == s.ID {
			return &all[i], nil
		}
	}
	if err == nil {
		err = schemas.Errorf(schemas.UnknownVersion, "the version that the session %s became is not there any more", s.ID)
	}
	return nil, err
}

// maxSealed bounds the sealed part of a version record, in bytes: a record
// travels in lists and with every session that builds on it.
const maxSealed = 256 << 10

func checkCommit(req *schemas.CommitRequest) error {
	switch {
	case len(req.Sealed) > maxSealed:
		return schemas.Errorf(schemas.TooLarge, "the sealed part of the version has %d bytes, at most %d are allowed: save fewer paths under one name", len(req.Sealed), maxSealed)
	case req.Files < 0 || req.Bytes < 0 || req.Stored < 0:
		return schemas.Errorf(schemas.BadRequest, "the commit counts less than nothing")
	}
	return nil
}

// closeSession notes which version the session became. The version stands
// already; without the note, a repeated commit still finds it by its session.
func (c *Coordinator) closeSession(ctx context.Context, id string, number uint64) {
	var s session
	_, err := c.sessions.Edit(ctx, id, &s, func() { s = session{} }, func() (bool, error) {
		if s.ID == "" {
			return false, nil
		}
		s.Committed = number
		return true, nil
	})
	if err != nil {
		c.opt.Log.Warn("a session could not be closed", "session", id, "error", err)
	}
}
