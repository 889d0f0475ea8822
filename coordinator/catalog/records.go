package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// Vault says that a nickname has a vault, and with which key.
type Vault struct {
	Nickname string `msgpack:"apelido"`
	// Fingerprint of the key that seals the vault; empty while only the seed's transmit has
	// used the nickname.
	Fingerprint []byte `msgpack:"fingerprint,omitempty"`
	Created     int64  `msgpack:"created"` // Unix ns
}

// Head is a record as lists show it. Latest and the fields that follow from it are those of
// the newest version that was not forgotten. If all were forgotten, Versions is 0 and they are
// those of the newest version of all. Without any version Latest is 0, and the name is free.
type Head struct {
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

// EnterVault makes the nickname's vault, and refuses a client with another key than the
// vault's. A nil fingerprint stands for the seed's transmit, which has no key.
func (c *Catalog) EnterVault(ctx context.Context, nickname string, fingerprint []byte) error {
	var v Vault
	written := false
	_, err := c.catalogue.Edit(ctx, vaultKey(nickname), &v, func() { v = Vault{} }, func() (write bool, err error) {
		defer func() { written = write }()
		switch {
		case v.Nickname == "":
			v = Vault{Nickname: nickname, Fingerprint: fingerprint, Created: time.Now().UnixNano()}
			return true, nil
		case len(fingerprint) == 0 || slices.Equal(v.Fingerprint, fingerprint):
			return false, nil
		case len(v.Fingerprint) == 0:
			v.Fingerprint = fingerprint
			return true, nil
		}
		return false, schemas.Explain(schemas.OtherKey, "vault-has-other-key", "the vault of \"{nickname}\" was made with another key: copy the key file from the machine that made it, or choose another nickname", "nickname", nickname)
	})
	if err == nil && written {
		c.QueueBackup(vaultKey(nickname))
	}
	return err
}

// Vault reads a nickname's vault; [schemas.UnknownNickname] if there is none.
func (c *Catalog) Vault(ctx context.Context, nickname string) (v Vault, err error) {
	_, err = c.catalogue.Get(ctx, vaultKey(nickname), &v)
	if errors.Is(err, kv.ErrNotFound) {
		err = schemas.Explain(schemas.UnknownNickname, "no-nickname", "nothing was ever saved under the nickname \"{nickname}\"", "nickname", nickname)
	}
	return v, err
}

// Nicknames lists the nicknames that have a vault and come after the given one, sorted.
func (c *Catalog) Nicknames(ctx context.Context, after string) (all []string, err error) {
	err = c.catalogue.Scan(ctx, vaultPrefix+"*", func(e kv.Entry) error {
		var v Vault
		if err := e.Decode(&v); err != nil {
			return err
		}
		if v.Nickname > after {
			all = append(all, v.Nickname)
		}
		return nil
	})
	slices.Sort(all)
	return all, err
}

// Head reads a record's head; a zero one if there is none.
func (c *Catalog) Head(ctx context.Context, nickname, record string) (h Head, err error) {
	_, err = c.catalogue.Get(ctx, recordKey(nickname, record), &h)
	if errors.Is(err, kv.ErrNotFound) {
		return Head{}, nil
	}
	h.complete()
	return h, err
}

// complete fills in fields that the heads of early releases do not have.
func (h *Head) complete() { h.Highest, h.Last = max(h.Highest, h.Latest), max(h.Last, h.Created) }

// Version reads one version; number 0 is the newest that was not forgotten. The error's code
// says whether the nickname, the record or the version is unknown.
func (c *Catalog) Version(ctx context.Context, nickname, record string, number uint64) (*schemas.Version, error) {
	if _, err := c.Vault(ctx, nickname); err != nil {
		return nil, err
	}
	h, err := c.Head(ctx, nickname, record)
	if err != nil {
		return nil, err
	}
	if h.Latest == 0 {
		return nil, schemas.Explain(schemas.UnknownRecord, "no-record", "\"{nickname}\" has no record \"{record}\"", "nickname", nickname, "record", record)
	}
	if number == 0 {
		if h.Versions == 0 {
			return nil, schemas.Explain(schemas.UnknownRecord, "all-forgotten", "all versions of \"{record}\" were forgotten: take one back, or name one as NAME@NUMBER", "record", record)
		}
		number = h.Latest
	}
	v := new(schemas.Version)
	_, err = c.catalogue.Get(ctx, versionKey(nickname, record, number), v)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, schemas.Explain(schemas.UnknownVersion, "no-version", "\"{record}\" has no version {number} (its newest is {latest})", "record", record, "number", number, "latest", h.Latest)
	}
	return v, err
}

// HasVersion reports whether the catalogue has a version of that number, which was not
// collected.
func (c *Catalog) HasVersion(ctx context.Context, nickname, record string, number uint64) (bool, error) {
	return c.catalogue.Exists(ctx, versionKey(nickname, record, number))
}

// Records lists a nickname's records whose names come after the given one, sorted by name.
// forgotten includes records of which all versions were forgotten.
func (c *Catalog) Records(ctx context.Context, nickname, after string, forgotten bool) (all []schemas.Record, err error) {
	err = c.catalogue.Scan(ctx, recordPrefix+kv.Token(nickname)+".*", func(e kv.Entry) error {
		var h Head
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

// Versions lists a record's versions below the given number (0: all), newest first. Forgotten
// ones are among them.
func (c *Catalog) Versions(ctx context.Context, nickname, record string, below uint64) (all []schemas.Version, err error) {
	filter := fmt.Sprintf(versionPrefix+"%s.%s.*", kv.Token(nickname), kv.Token(record))
	err = c.catalogue.Scan(ctx, filter, func(e kv.Entry) error {
		var v schemas.Version
		if err := e.Decode(&v); err != nil {
			return err
		}
		if below == 0 || v.Number < below {
			all = append(all, v)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b schemas.Version) int { return cmp.Compare(b.Number, a.Number) })
	return all, err
}

// VersionOf reads the version that a session became. number is the number that it got; it has
// another one if the catalogue was rebuilt since.
func (c *Catalog) VersionOf(ctx context.Context, session, nickname, record string, number uint64) (*schemas.Version, error) {
	v, err := c.Version(ctx, nickname, record, number)
	if err == nil && v.Session == session || err != nil && schemas.CodeOf(err) != schemas.UnknownVersion {
		return v, err
	}
	all, err := c.Versions(ctx, nickname, record, 0)
	for i := range all {
		if all[i].Session == session {
			return &all[i], nil
		}
	}
	if err == nil {
		err = schemas.Errorf(schemas.UnknownVersion, "the version that the session %s became was collected", session)
	}
	return nil, err
}

// CheckSource refuses to let a record's name stand for another source. moved lets a sealed
// record continue from a new source.
func CheckSource(h *Head, source schemas.SourceID, sealed, moved bool) error {
	switch {
	case h.Latest == 0 || h.Sealed == sealed && (moved || h.Source == source):
		return nil
	case h.Sealed != sealed && h.Sealed:
		return schemas.Explain(schemas.NameTaken, "name-is-sealed", "the name \"{name}\" stands for a sealed record of a client: choose another name", "name", h.Name)
	case h.Sealed != sealed:
		return schemas.Explain(schemas.NameTaken, "name-is-plain", "the name \"{name}\" stands for a file that was sent unsealed: choose another name", "name", h.Name)
	}
	return schemas.Explain(schemas.NameTaken, "name-has-other-source", "the name \"{name}\" stands for another source, on another host or in another folder", "name", h.Name)
}

// Commit gives v its number, id and time, creates it, and moves the head. If v's session has
// been committed before, that version is returned: it is looked for among the numbers above
// since, the record's highest when the session was opened.
func (c *Catalog) Commit(ctx context.Context, v *schemas.Version, since uint64, moved bool) (*schemas.Version, error) {
	h, err := c.Head(ctx, v.Nickname, v.Record)
	if err != nil {
		return nil, err
	}
	for number := since + 1; ; number++ {
		if number > h.Highest {
			if err := CheckSource(&h, v.Source, v.RootKind != schemas.Plain, moved); err != nil {
				return nil, err
			}
			err := c.create(ctx, v, number, h.Last)
			if err == nil {
				return v, c.moveHead(ctx, v)
			}
			if !errors.Is(err, kv.ErrExists) {
				return nil, err
			}
		}
		var old schemas.Version
		_, err := c.catalogue.Get(ctx, versionKey(v.Nickname, v.Record, number), &old)
		switch {
		case errors.Is(err, kv.ErrNotFound) && number > h.Highest:
			number-- // the version was deleted meanwhile: try the number again
		case errors.Is(err, kv.ErrNotFound): // collected: numbers are not used again
		case err != nil:
			return nil, err
		case old.Session == v.Session:
			return &old, c.moveHead(ctx, &old)
		case number > h.Highest: // a version that the head does not name yet
			h = headOf(&old, &h)
		}
	}
}

// create creates v with that number. Its time is later than that of the version before,
// whatever the clock says.
func (c *Catalog) create(ctx context.Context, v *schemas.Version, number uint64, before int64) error {
	v.Number, v.Created = number, max(time.Now().UnixNano(), before+1)
	v.ID = schemas.VersionID(v.Record, v.Number)
	key := versionKey(v.Nickname, v.Record, v.Number)
	_, err := c.catalogue.Create(ctx, key, v)
	if err == nil {
		c.QueueBackup(key)
	}
	return err
}

// headOf is the head that names v and follows on the head h.
func headOf(v *schemas.Version, h *Head) Head {
	next := Head{Highest: v.Number, Last: v.Created}
	next.show(v)
	next.Versions = h.Versions + (v.Number - h.Highest)
	return next
}

// show makes the head show v.
func (h *Head) show(v *schemas.Version) {
	h.Name, h.Latest, h.Created, h.Files, h.Bytes = v.Record, v.Number, v.Created, v.Files, v.Bytes
	h.Source, h.Sealed = v.Source, v.RootKind != schemas.Plain
}

// count counts one version more, the newest so far.
func (h *Head) count(v *schemas.Version) {
	switch {
	case v.Forgotten == 0:
		h.Versions++
		h.show(v)
	case h.Versions == 0:
		h.show(v)
	}
}

// moveHead makes the record's head name v, unless it names a newer version.
func (c *Catalog) moveHead(ctx context.Context, v *schemas.Version) error {
	return c.editHead(ctx, v.Nickname, v.Record, func(h *Head) error {
		if h.Highest < v.Number {
			*h = headOf(v, h)
		}
		return nil
	})
}

// editHead applies change to a head and writes it if it is another one then.
func (c *Catalog) editHead(ctx context.Context, nickname, record string, change func(*Head) error) error {
	var h Head
	_, err := c.catalogue.Edit(ctx, recordKey(nickname, record), &h, func() { h = Head{} }, func() (bool, error) {
		before := h
		h.complete()
		err := change(&h)
		return h != before, err
	})
	return err
}

// refreshHead makes a record's head show what its versions are now.
func (c *Catalog) refreshHead(ctx context.Context, nickname, record string) error {
	return c.editHead(ctx, nickname, record, func(h *Head) error {
		all, err := c.Versions(ctx, nickname, record, 0)
		if err != nil {
			return err
		}
		next := Head{Record: schemas.Record{Name: record}, Highest: h.Highest, Last: h.Last}
		for _, v := range slices.Backward(all) {
			next.Highest, next.Last = max(next.Highest, v.Number), max(next.Last, v.Created)
			next.count(&v)
		}
		*h = next
		return nil
	})
}
