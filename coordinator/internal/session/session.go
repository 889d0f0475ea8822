// Package session stores the sessions of clients that are saving something.
//
// A session lapses with the bucket's TTL unless it is renewed. After its commit it stays for
// as long again, so that a client whose answer was lost can repeat its commit and get the same
// version. What an open session builds on is not collected.
package session

import (
	"context"
	"errors"

	"servidor-backup/bus/kv"
	"servidor-backup/coordinator/members"
	"servidor-backup/schemas"
)

// Session is a session as the bucket stores it.
type Session struct {
	ID       string           `msgpack:"id"`
	Nickname string           `msgpack:"apelido"`
	Record   string           `msgpack:"nome_arquivo"`
	Source   schemas.SourceID `msgpack:"source"`
	// Fingerprint is that of the vault's key.
	Fingerprint []byte `msgpack:"fingerprint,omitempty"`
	Moved       bool   `msgpack:"moved,omitempty"`
	Opened      int64  `msgpack:"opened"`              // Unix ns
	Committed   uint64 `msgpack:"committed,omitempty"` // the version's number; 0 before the commit

	// Parent and ParentRoot are the number and the root of the version that the session
	// builds on; 0 for none. Since is the record's highest number when the session was
	// opened.
	Parent     uint64          `msgpack:"parent"`
	ParentRoot schemas.ChunkID `msgpack:"parent_root"`
	Since      uint64          `msgpack:"since"`
	// Generation is that of the newest collection when the session was opened, or an older
	// one. Every chunk that the session asks for or puts is pinned in this generation or a
	// later one.
	Generation uint32 `msgpack:"generation"`

	Durability schemas.Durability `msgpack:"durability"` // the vault's
	Degraded   bool               `msgpack:"degraded,omitempty"`
	Basis      members.Basis      `msgpack:"basis"`
	// Trusted says that the client was told to take the parent's chunks to be held.
	Trusted bool `msgpack:"trusted,omitempty"`
	// HasCheckpoint says that the record may have a checkpoint, which the commit removes.
	HasCheckpoint bool `msgpack:"has_checkpoint,omitempty"`
	// Reopened is when the session was opened again after it had lapsed, Unix ns; 0 if it never
	// was. What it had sent and asked for before may have been collected, or be pinned in an older
	// generation only.
	Reopened int64 `msgpack:"reopened,omitempty"`
}

// Token is the session as its client keeps it, so that any coordinator can open it again after it
// has lapsed.
func (s *Session) Token() ([]byte, error) { return schemas.Marshal(s) }

// FromToken decodes a token of the session with that id.
func FromToken(id string, token []byte) (*Session, error) {
	s := new(Session)
	if err := schemas.Unmarshal(token, s); err != nil || s.ID != id || kv.Token(id) != id {
		return nil, schemas.Errorf(schemas.BadRequest, "the token is not that of the session %q", id)
	}
	return s, nil
}

// LimitMargin notes that some of the session's chunks survive the loss of m nodes only.
func (s *Session) LimitMargin(m uint8) {
	s.Degraded = s.Degraded || m < s.Durability.M
	s.Basis.Tolerates = min(s.Basis.Tolerates, m)
}

// Store reads and writes sessions.
type Store struct{ bucket *kv.Bucket }

// NewStore stores sessions in bucket.
func NewStore(bucket *kv.Bucket) *Store { return &Store{bucket} }

// Create stores a new session.
func (s *Store) Create(ctx context.Context, session *Session) error {
	_, err := s.bucket.Create(ctx, session.ID, session)
	return err
}

// Get reads a session and its revision; [schemas.UnknownSession] if there is none.
func (s *Store) Get(ctx context.Context, id string) (*Session, uint64, error) {
	if id == "" || kv.Token(id) != id {
		return nil, 0, schemas.Errorf(schemas.BadRequest, "%q is not the id of a session", id)
	}
	found := new(Session)
	revision, err := s.bucket.Get(ctx, id, found)
	if errors.Is(err, kv.ErrNotFound) {
		err = schemas.Explain(schemas.UnknownSession, "no-session", "the session {session} has lapsed or never existed: begin again, chunks that are stored are not sent twice", "session", id)
	}
	return found, revision, err
}

// Renew applies change to a session and writes it again, so that its whole TTL is before it.
// change is called once more whenever another coordinator has written the session meanwhile.
func (s *Store) Renew(ctx context.Context, id string, change func(*Session)) (*Session, error) {
	for {
		found, revision, err := s.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		change(found)
		if _, err = s.bucket.Update(ctx, found.ID, found, revision); !errors.Is(err, kv.ErrConflict) {
			return found, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// Close notes which version the session became. The version exists already; without the
// note, a repeated commit still finds it by its session.
func (s *Store) Close(ctx context.Context, id string, number uint64) error {
	var found Session
	_, err := s.bucket.Edit(ctx, id, &found, func() { found = Session{} }, func() (bool, error) {
		if found.ID == "" {
			return false, nil
		}
		found.Committed = number
		return true, nil
	})
	return err
}

// Delete removes a session.
func (s *Store) Delete(ctx context.Context, id string) error { return s.bucket.Delete(ctx, id) }

// Each calls visit with every session, committed ones too.
func (s *Store) Each(ctx context.Context, visit func(*Session) error) error {
	return s.bucket.Scan(ctx, ">", func(e kv.Entry) error {
		found := new(Session)
		if err := e.Decode(found); err != nil {
			return err
		}
		return visit(found)
	})
}
