package catalog

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"servidor-backup/schemas"
)

// merge merges what several catalogues say: the one that is there, and those that nodes have
// backups of. Each of them began where the one before was lost. For most keys the newest value
// holds; versions need more than that.
//
// A version is identified by the session that made it, and no session makes two. Catalogues
// that know nothing of each other give the same numbers. So several versions may be found
// under one key, and a version that was given another number under several keys: the highest
// number is its own. A version that was collected does not come back; its tombstone names it,
// and has a number like it.
//
// The versions of a record keep their numbers as long as the numbers ascend with the times at
// which the versions were saved. A version whose number is taken, or is lower than that of an
// older version, gets a number above all that were ever given. So the newest version has the
// highest number again, and no version is lost. To merge a second time changes nothing more,
// however far the first time came.
type merge struct {
	values   map[string]*schemas.CatalogueEntry // of keys that are no versions
	versions map[string]*mergedVersion          // by session
	highest  map[string]highest                 // of records, by their keys
	moved    map[string]schemas.Moved           // by session
}

// highest is the highest number that a record ever gave to a version, and the latest time.
type highest struct {
	number uint64
	time   int64
}

// mergedVersion is a version, and where it was found.
type mergedVersion struct {
	version   *schemas.Version // or its tombstone
	collected bool
	revision  uint64 // of its newest value
	number    uint64 // the highest that it was found under
}

func newMerge() *merge {
	return &merge{values: map[string]*schemas.CatalogueEntry{}, versions: map[string]*mergedVersion{},
		highest: map[string]highest{}, moved: map[string]schemas.Moved{}}
}

// sessionOf identifies a version. Versions of early releases have no session, but a key.
func sessionOf(v *schemas.Version) string {
	return cmp.Or(v.Session, versionKey(v.Nickname, v.Record, v.Number))
}

// add merges an entry. Of two values with the same revision, the one that is added later holds.
func (m *merge) add(e *schemas.CatalogueEntry) error {
	switch {
	case strings.HasPrefix(e.Key, versionPrefix):
		return m.addVersion(e)
	case e.Deleted: // by an administrator, with another tool
	case strings.HasPrefix(e.Key, vaultPrefix):
		return m.addVault(e)
	default:
		m.addValue(e)
	}
	return nil
}

func (m *merge) addValue(e *schemas.CatalogueEntry) {
	if old := m.values[e.Key]; old == nil || old.Revision <= e.Revision {
		m.values[e.Key] = e
	}
}

// addVault prefers a vault with a key's fingerprint to one without: the key must not be lost.
func (m *merge) addVault(e *schemas.CatalogueEntry) error {
	var v, old Vault
	if err := schemas.Unmarshal(e.Value, &v); err != nil {
		return err
	}
	if other := m.values[e.Key]; other != nil {
		if err := schemas.Unmarshal(other.Value, &old); err != nil {
			return err
		}
		if had, has := len(old.Fingerprint) > 0, len(v.Fingerprint) > 0; had != has {
			if has {
				m.values[e.Key] = e
			}
			return nil
		}
	}
	m.addValue(e)
	return nil
}

func (m *merge) addVersion(e *schemas.CatalogueEntry) error {
	if e.Deleted && len(e.Value) == 0 {
		return nil // by an administrator, with another tool: which version it was is not known
	}
	v := new(schemas.Version)
	if err := schemas.Unmarshal(e.Value, v); err != nil {
		return err
	}
	number, err := strconv.ParseUint(e.Key[strings.LastIndexByte(e.Key, '.')+1:], 10, 64)
	if err != nil || versionKey(v.Nickname, v.Record, number) != e.Key {
		return schemas.Errorf(schemas.Corrupt, "the key %s has the version %s of %q as its value", e.Key, v.ID, v.Nickname)
	}
	m.raise(recordKey(v.Nickname, v.Record), highest{number, v.Created})
	if e.Deleted && v.Session == "" {
		return nil // the version has another key now
	}
	session := sessionOf(v)
	s := m.versions[session]
	if s == nil {
		s = new(mergedVersion)
		m.versions[session] = s
	}
	s.number = max(s.number, number)
	if e.Deleted && !s.collected || e.Deleted == s.collected && s.revision <= e.Revision {
		s.version, s.collected, s.revision = v, e.Deleted, e.Revision
	}
	return nil
}

// raise raises a record's highest number and latest time.
func (m *merge) raise(record string, to highest) {
	before := m.highest[record]
	m.highest[record] = highest{max(before.number, to.number), max(before.time, to.time)}
}

// renumber gives every version its number, and returns the versions by key. It notes those
// that get another number than they were found under.
func (m *merge) renumber() map[string]*mergedVersion {
	records := map[string][]*mergedVersion{}
	for _, s := range m.versions {
		r := recordKey(s.version.Nickname, s.version.Record)
		records[r] = append(records[r], s)
	}
	all := map[string]*mergedVersion{}
	for r, versions := range records {
		slices.SortFunc(versions, func(a, b *mergedVersion) int {
			return cmp.Or(cmp.Compare(a.version.Created, b.version.Created), cmp.Compare(a.number, b.number),
				cmp.Compare(a.version.Session, b.version.Session))
		})
		last, highest := uint64(0), m.highest[r].number
		for _, s := range versions {
			v := *s.version
			v.Number = s.number
			if v.Number <= last {
				highest++
				v.Number = highest
				if !s.collected {
					m.move(&v, s.number)
				}
			}
			last, v.ID = v.Number, schemas.VersionID(v.Record, v.Number)
			all[versionKey(v.Nickname, v.Record, v.Number)] = &mergedVersion{version: &v, collected: s.collected}
		}
	}
	return all
}

// move notes that a version gets another number.
func (m *merge) move(v *schemas.Version, from uint64) {
	moved, before := m.moved[sessionOf(v)]
	if !before {
		moved = schemas.Moved{Nickname: v.Nickname, From: schemas.VersionID(v.Record, from)}
	}
	moved.To = schemas.VersionID(v.Record, v.Number)
	m.moved[sessionOf(v)] = moved
}

// moves are the versions that got another number, sorted, but at most [schemas.MaxMoved].
func (m *merge) moves() (all []schemas.Moved) {
	for _, moved := range m.moved {
		all = append(all, moved)
	}
	slices.SortFunc(all, func(a, b schemas.Moved) int {
		return cmp.Or(strings.Compare(a.Nickname, b.Nickname), strings.Compare(a.From, b.From), strings.Compare(a.To, b.To))
	})
	return all[:min(len(all), schemas.MaxMoved)]
}

// recordHead is a head with its nickname.
type recordHead struct {
	nickname string
	Head
}

// headsOf computes the heads of the records of those versions, by key.
func (m *merge) headsOf(all map[string]*mergedVersion) map[string]*recordHead {
	heads := map[string]*recordHead{}
	ascending := slices.SortedFunc(maps.Values(all), func(a, b *mergedVersion) int { return cmp.Compare(a.version.Number, b.version.Number) })
	for _, s := range ascending {
		v := s.version
		key := recordKey(v.Nickname, v.Record)
		h := heads[key]
		if h == nil {
			h = &recordHead{v.Nickname, Head{Record: schemas.Record{Name: v.Record}, Highest: m.highest[key].number, Last: m.highest[key].time}}
			heads[key] = h
		}
		h.Highest = max(h.Highest, v.Number)
		if !s.collected {
			h.count(v)
		}
	}
	return heads
}
