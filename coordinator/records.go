package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// records is the catalogue: what was saved, by whom, under which name.
//
// Its bucket has three kinds of key, each name made a token by kv.Token:
//
//	vault.NICKNAME                    vaultEntry
//	record.NICKNAME.RECORD            head: what lists show
//	version.NICKNAME.RECORD.NUMBER    schemas.Version; NUMBER has ten digits
//
// A version is created once. What is written later is only whether it was forgotten
// (forget.go), and in the end a collection deletes it, leaving a mark that says which it
// was; its number is not used again. Only if the catalogue is lost, and versions were saved
// in a new one before it was brought back, do those get other numbers (merge.go).
// The head follows; if a crash comes between, the next commit finds the version and
// moves on.
type records struct {
	kv    *kv.Bucket
	wrote func(key string) // is told of vaults and versions that were written
}

// vaultEntry says that a nickname has a vault, and with which key.
type vaultEntry struct {
	Nickname string `msgpack:"apelido"`
	// Fingerprint of the key that seals the vault; empty while only the seed's
	// transmit has used the nickname.
	Fingerprint []byte `msgpack:"fingerprint,omitempty"`
	Created     int64  `msgpack:"created"`
}

// head is a record as lists show it: Latest and what follows from it are of the newest
// version that was not forgotten; if all were, Versions is 0 and they are of the newest
// of all. Without any version Latest is 0, too, and the name is free.
type head struct {
	schemas.Record
	// Highest is the number that was given last, and Last when that was, Unix ns.
	Highest uint64 `msgpack:"highest,omitempty"`
	Last    int64  `msgpack:"last,omitempty"`
}

const (
	vaultPrefix   = "vault."
	recordPrefix  = "record."
	versionPrefix = "version."
)

func vaultKey(nickname string) string { return vaultPrefix + kv.Token(nickname) }

func recordKey(nickname, record string) string {
	return recordPrefix + kv.Token(nickname) + "." + kv.Token(record)
}

func versionKey(nickname, record string, number uint64) string {
	return fmt.Sprintf(versionPrefix+"%s.%s.%010d", kv.Token(nickname), kv.Token(record), number)
}

// enterVault makes the nickname's entry, and holds a client with another key
// off. A nil fingerprint is the seed's transmit, which has no key.
func (r *records) enterVault(ctx context.Context, nickname string, fingerprint []byte) error {
	var v vaultEntry
	written := false
	_, err := r.kv.Edit(ctx, vaultKey(nickname), &v, func() { v = vaultEntry{} }, func() (write bool, err error) {
		defer func() { written = write }()
		switch {
		case v.Nickname == "":
			v = vaultEntry{Nickname: nickname, Fingerprint: fingerprint, Created: time.Now().UnixNano()}
			return true, nil
		case len(fingerprint) == 0 || slices.Equal(v.Fingerprint, fingerprint):
			return false, nil
		case len(v.Fingerprint) == 0:
			v.Fingerprint = fingerprint
			return true, nil
		}
		return false, schemas.Errorf(schemas.OtherKey, "the vault of %q was made with another key: copy the key file from the machine that made it, or choose another nickname", nickname)
	})
	if err == nil && written {
		r.wrote(vaultKey(nickname))
	}
	return err
}

// vault tells whether the nickname is known; [schemas.UnknownNickname] if not.
func (r *records) vault(ctx context.Context, nickname string) (v vaultEntry, err error) {
	_, err = r.kv.Get(ctx, vaultKey(nickname), &v)
	if errors.Is(err, kv.ErrNotFound) {
		err = schemas.Errorf(schemas.UnknownNickname, "nothing was ever saved under the nickname %q", nickname)
	}
	return v, err
}

// head reads a record's head; a zero one if there is none.
func (r *records) head(ctx context.Context, nickname, record string) (h head, err error) {
	_, err = r.kv.Get(ctx, recordKey(nickname, record), &h)
	if errors.Is(err, kv.ErrNotFound) {
		return head{}, nil
	}
	h.mend()
	return h, err
}

// mend adds what heads once did not say.
func (h *head) mend() { h.Highest, h.Last = max(h.Highest, h.Latest), max(h.Last, h.Created) }

// version reads one version; number 0 is the newest that was not forgotten. Errors tell an unknown
// nickname, record and version apart.
func (r *records) version(ctx context.Context, nickname, record string, number uint64) (*schemas.Version, error) {
	if _, err := r.vault(ctx, nickname); err != nil {
		return nil, err
	}
	h, err := r.head(ctx, nickname, record)
	if err != nil {
		return nil, err
	}
	if h.Latest == 0 {
		return nil, schemas.Errorf(schemas.UnknownRecord, "%q has no record %q", nickname, record)
	}
	if number == 0 {
		if h.Versions == 0 {
			return nil, schemas.Errorf(schemas.UnknownRecord, "all versions of %q were forgotten: take one back with \"backup unforget\", or name one as NAME@NUMBER", record)
		}
		number = h.Latest
	}
	v := new(schemas.Version)
	_, err = r.kv.Get(ctx, versionKey(nickname, record, number), v)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, schemas.Errorf(schemas.UnknownVersion, "%q has no version %d (its newest is %d)", record, number, h.Latest)
	}
	return v, err
}

// heads lists a nickname's records after the given name, sorted by name, with
// forgotten also those of which all versions were forgotten.
func (r *records) heads(ctx context.Context, nickname, after string, forgotten bool) (all []schemas.Record, err error) {
	err = r.kv.Scan(ctx, recordPrefix+kv.Token(nickname)+".*", func(e kv.Entry) error {
		var h head
		if err := e.Decode(&h); err != nil {
			return err
		}
		if h.Name > after && (h.Versions > 0 || forgotten && h.Latest > 0) {
			all = append(all, h.Record)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b schemas.Record) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// versions lists a record's versions below the given number (0: all), newest
// first, those that were forgotten among them.
func (r *records) versions(ctx context.Context, nickname, record string, below uint64) (all []schemas.Version, err error) {
	filter := fmt.Sprintf(versionPrefix+"%s.%s.*", kv.Token(nickname), kv.Token(record))
	err = r.kv.Scan(ctx, filter, func(e kv.Entry) error {
		var v schemas.Version
		if err := e.Decode(&v); err != nil {
			return err
		}
		if below == 0 || v.Number < below {
			all = append(all, v)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b schemas.Version) int {
		switch {
		case a.Number > b.Number:
			return -1
		case a.Number < b.Number:
			return 1
		}
		return 0
	})
	return all, err
}

// checkSource refuses a record that stands for another source. moved lets a
// sealed record go on from a new place.
func checkSource(h *head, source schemas.SourceID, sealed, moved bool) error {
	switch {
	case h.Latest == 0 || h.Sealed == sealed && (moved || h.Source == source):
		return nil
	case h.Sealed != sealed && h.Sealed:
		return schemas.Errorf(schemas.NameTaken, "the name %q stands for a sealed record of a client: choose another name", h.Name)
	case h.Sealed != sealed:
		return schemas.Errorf(schemas.NameTaken, "the name %q stands for a file that was sent unsealed: choose another name", h.Name)
	}
	return schemas.Errorf(schemas.NameTaken, "the name %q stands for another source, on another host or in another place", h.Name)
}

// commit gives v its number, id and time, writes it, and moves the head. If the
// version's session has been committed before, that version is returned: it is
// looked for among those above since, the newest when the session was opened.
//
// Order: the version is created (synced) before the head names it; both before
// the caller is told.
func (r *records) commit(ctx context.Context, v *schemas.Version, since uint64, moved bool) (*schemas.Version, error) {
	h, err := r.head(ctx, v.Nickname, v.Record)
	if err != nil {
		return nil, err
	}
	for number := since + 1; ; number++ {
		if number > h.Highest {
			if err := checkSource(&h, v.Source, v.RootKind != schemas.Plain, moved); err != nil {
				return nil, err
			}
			err := r.create(ctx, v, number, h.Last)
			if err == nil {
				return v, r.moveHead(ctx, v)
			}
			if !errors.Is(err, kv.ErrExists) {
				return nil, err
			}
		}
		var old schemas.Version
		_, err := r.kv.Get(ctx, versionKey(v.Nickname, v.Record, number), &old)
		switch {
		case errors.Is(err, kv.ErrNotFound) && number > h.Highest:
			number-- // it was taken away in between: ask again
		case errors.Is(err, kv.ErrNotFound): // it was there once: numbers are not used again
		case err != nil:
			return nil, err
		case old.Session == v.Session:
			return &old, r.moveHead(ctx, &old)
		case number > h.Highest: // a version that the head does not name yet
			h = headOf(&old, &h)
		}
	}
}

// create enters v, later than the one before by whatever clock that has its time.
func (r *records) create(ctx context.Context, v *schemas.Version, number uint64, before int64) error {
	v.Number, v.Created = number, max(time.Now().UnixNano(), before+1)
	v.ID = schemas.VersionID(v.Record, v.Number)
	key := versionKey(v.Nickname, v.Record, v.Number)
	_, err := r.kv.Create(ctx, key, v)
	if err == nil {
		r.wrote(key)
	}
	return err
}

// mark is what is left of a version that was collected.
func mark(v *schemas.Version) *schemas.Version {
	return &schemas.Version{Nickname: v.Nickname, Record: v.Record, Number: v.Number,
		Created: v.Created, Session: v.Session}
}

// headOf is the head that names v, after the head h.
func headOf(v *schemas.Version, h *head) head {
	next := head{Highest: v.Number, Last: v.Created}
	next.show(v)
	next.Versions = h.Versions + (v.Number - h.Highest)
	return next
}

// show makes the head tell of v.
func (h *head) show(v *schemas.Version) {
	h.Name, h.Latest, h.Created, h.Files, h.Bytes = v.Record, v.Number, v.Created, v.Files, v.Bytes
	h.Source, h.Sealed = v.Source, v.RootKind != schemas.Plain
}

// moveHead makes the record's head name v, unless it names a newer one.
func (r *records) moveHead(ctx context.Context, v *schemas.Version) error {
	return r.editHead(ctx, v.Nickname, v.Record, func(h *head) error {
		if h.Highest < v.Number {
			*h = headOf(v, h)
		}
		return nil
	})
}

// editHead changes a head under CAS, if change does.
func (r *records) editHead(ctx context.Context, nickname, record string, change func(*head) error) error {
	var h head
	_, err := r.kv.Edit(ctx, recordKey(nickname, record), &h, func() { h = head{} }, func() (bool, error) {
		before := h
		h.mend()
		err := change(&h)
		return h != before, err
	})
	return err
}
