package coordinator

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/nats-io/nuid"

	"servidor-backup/bus"
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
	Parent    uint64           `msgpack:"parent"` // number of the version it builds on; 0 for none
	Opened    int64            `msgpack:"opened"` // Unix ns
	Committed uint64           `msgpack:"committed,omitempty"`
}

// openSession answers backup.session.open.
func (c *Coordinator) openSession(ctx context.Context, req *schemas.SessionRequest) (any, error) {
	if err := checkSession(req); err != nil {
		return nil, err
	}
	nodes, err := c.members.writable()
	if err != nil {
		return nil, err
	}
	if err := c.records.enterVault(ctx, req.Nickname, req.Fingerprint); err != nil {
		return nil, err
	}
	h, err := c.records.head(ctx, req.Nickname, req.Record)
	if err != nil {
		return nil, err
	}
	if err := checkSource(&h, req.Source, true, req.Moved); err != nil {
		return nil, err
	}
	rep := &schemas.SessionReply{Reply: schemas.OK, Session: nuid.Next(), TTL: int64(c.opt.SessionTTL),
		Durability: schemas.Durability{K: 1}, Map: nodes}
	if h.Latest > 0 {
		if rep.Parent, err = c.records.version(ctx, req.Nickname, req.Record, h.Latest); err != nil {
			return nil, err
		}
		rep.Recheck = !trusts(rep.Parent, nodes)
	}
	_, err = c.sessions.Create(ctx, rep.Session, &session{
		ID: rep.Session, Nickname: req.Nickname, Record: req.Record, Source: req.Source,
		Moved: req.Moved, Parent: h.Latest, Opened: time.Now().UnixNano(),
	})
	if err != nil {
		return nil, err
	}
	c.event(schemas.EventSessionOpened, rep.Session, req.Nickname, "%s began to save %s", req.Nickname, req.Record)
	return rep, nil
}

// trusts reports whether what was held when the parent was committed still is:
// no node has gone since, and none knows of damage.
func trusts(parent *schemas.Version, nodes *schemas.NodeMap) bool {
	return bytes.Equal(parent.Nodes, nodes.Fingerprint()) && nodes.Damaged() == 0
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
	s, revision, err := c.session(ctx, req.Session)
	if err != nil {
		return nil, err
	}
	// A conflict means that someone else has written it just now: renewed.
	if _, err := c.sessions.Update(ctx, s.ID, s, revision); err != nil && !errors.Is(err, bus.ErrConflict) {
		return nil, err
	}
	return &schemas.SessionReply{Reply: schemas.OK, Session: s.ID, TTL: int64(c.opt.SessionTTL),
		Durability: schemas.Durability{K: 1}, Map: c.members.nodeMap()}, nil
}

func (c *Coordinator) session(ctx context.Context, id string) (*session, uint64, error) {
	s := new(session)
	if id == "" || bus.KeyToken(id) != id {
		return nil, 0, schemas.Errorf(schemas.BadRequest, "%q is not a session's id", id)
	}
	revision, err := c.sessions.Get(ctx, id, s)
	if errors.Is(err, bus.ErrNoKey) {
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
		v, err := c.records.version(ctx, s.Nickname, s.Record, s.Committed)
		return &schemas.CommitReply{Reply: schemas.OK, Version: v}, err
	}
	if err := checkCommit(req); err != nil {
		return nil, err
	}
	vault, nodes := schemas.SealedVault(s.Nickname), c.members.nodeMap()
	var parent schemas.ChunkID
	if s.Parent > 0 {
		p, err := c.records.version(ctx, s.Nickname, s.Record, s.Parent)
		if err != nil {
			return nil, err
		}
		if trusts(p, nodes) {
			parent = p.Root
		}
	}
	if err := c.verify(ctx, vault, req.Root, parent); err != nil {
		return nil, err
	}
	v, err := c.records.commit(ctx, &schemas.Version{
		Nickname: s.Nickname, Record: s.Record, Vault: vault, Root: req.Root, RootKind: schemas.Tree,
		Files: req.Files, Bytes: req.Bytes, Stored: req.Stored, Durability: schemas.Durability{K: 1},
		Session: s.ID, Source: s.Source, Nodes: nodes.Fingerprint(), Sealed: req.Sealed, Partial: req.Partial,
	}, s.Parent, s.Moved)
	if err != nil {
		return nil, err
	}
	c.closeSession(ctx, s.ID, v.Number)
	c.event(schemas.EventVersionCommitted, v.ID, v.Nickname, "%s saved %s: %d files, %d bytes, %d of them new", v.Nickname, v.ID, v.Files, v.Bytes, v.Stored)
	return &schemas.CommitReply{Reply: schemas.OK, Version: v}, nil
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
