package coordinator

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"servidor-backup/schemas"
)

// merge brings together what several catalogues say, of which each began where the one
// before was lost: the one that is there, and those that nodes have copies of. For most
// keys the newest value holds; only versions are more than that.
//
// A version is known by the session that made it, and no session makes two. Catalogues
// that know nothing of each other give the same numbers, so several versions may be found
// under one key, and one that was given another number under several keys: the highest is
// its own. What was collected does not come back; the mark that it has left names it, and
// has a number like it.
//
// Versions of a record keep their numbers as long as those ascend with the times at which
// they were saved. One whose number is taken, or is lower than that of an older one, gets a
// number above all that were ever given: so the newest version has the highest number
// again, and nothing is lost. To merge twice changes nothing more, nor does it change
// anything how far the first time came.
type merge struct {
	values map[string]*schemas.CatalogueEntry // of keys that are no versions
	saved  map[string]*savedAt                // by session
	newest map[string]reached                 // of records, by their keys
	moved  map[string]schemas.Moved           // by session
}

// reached is how far a record has come: the highest number that was ever given, and the
// latest time.
type reached struct {
	number uint64
	time   int64
}

// savedAt is a version, and where it was found.
type savedAt struct {
	version  *schemas.Version // or what is left of it
	gone     bool             // it was collected
	revision uint64           // of its newest value
	number   uint64           // the highest
}

func newMerge() *merge {
	return &merge{values: map[string]*schemas.CatalogueEntry{}, saved: map[string]*savedAt{},
		newest: map[string]reached{}, moved: map[string]schemas.Moved{}}
}

// sessionOf tells versions apart.
func sessionOf(v *schemas.Version) string {
	return cmp.Or(v.Session, versionKey(v.Nickname, v.Record, v.Number))
}

// add takes an entry in. Of two values with one revision the later one holds.
func (m *merge) add(e *schemas.CatalogueEntry) error {
	switch {
	case strings.HasPrefix(e.Key, versionPrefix):
		return m.addVersion(e)
	case e.Deleted: // by hand
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

// addVault does not let a vault's key be forgotten for an entry that has none yet.
func (m *merge) addVault(e *schemas.CatalogueEntry) error {
	var v, old vaultEntry
	if err := schemas.Unmarshal(e.Value, &v); err != nil {
		return err
	}
	if there := m.values[e.Key]; there != nil {
		if err := schemas.Unmarshal(there.Value, &old); err != nil {
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
		return nil // by hand: what it was is not known
	}
	v := new(schemas.Version)
	if err := schemas.Unmarshal(e.Value, v); err != nil {
		return err
	}
	number, err := strconv.ParseUint(e.Key[strings.LastIndexByte(e.Key, '.')+1:], 10, 64)
	if err != nil || versionKey(v.Nickname, v.Record, number) != e.Key {
		return schemas.Errorf(schemas.Corrupt, "the key %s has a version %s of %q", e.Key, v.ID, v.Nickname)
	}
	m.came(recordKey(v.Nickname, v.Record), reached{number, v.Created})
	if e.Deleted && v.Session == "" {
		return nil // it is elsewhere
	}
	session := sessionOf(v)
	s := m.saved[session]
	if s == nil {
		s = new(savedAt)
		m.saved[session] = s
	}
	s.number = max(s.number, number)
	if e.Deleted && !s.gone || e.Deleted == s.gone && s.revision <= e.Revision {
		s.version, s.gone, s.revision = v, e.Deleted, e.Revision
	}
	return nil
}

// came notes that a record has come so far.
func (m *merge) came(record string, to reached) {
	before := m.newest[record]
	m.newest[record] = reached{max(before.number, to.number), max(before.time, to.time)}
}

// number gives everything its number, by key. Versions that get another one than they were
// found under are noted.
func (m *merge) number() map[string]*savedAt {
	records := map[string][]*savedAt{}
	for _, s := range m.saved {
		r := recordKey(s.version.Nickname, s.version.Record)
		records[r] = append(records[r], s)
	}
	all := map[string]*savedAt{}
	for r, saved := range records {
		slices.SortFunc(saved, func(a, b *savedAt) int {
			return cmp.Or(cmp.Compare(a.version.Created, b.version.Created), cmp.Compare(a.number, b.number),
				cmp.Compare(a.version.Session, b.version.Session))
		})
		last, highest := uint64(0), m.newest[r].number
		for _, s := range saved {
			v := *s.version
			v.Number = s.number
			if v.Number <= last {
				highest++
				v.Number = highest
				if !s.gone {
					m.move(&v, s.number)
				}
			}
			last, v.ID = v.Number, schemas.VersionID(v.Record, v.Number)
			all[versionKey(v.Nickname, v.Record, v.Number)] = &savedAt{version: &v, gone: s.gone}
		}
	}
	return all
}

func (m *merge) move(v *schemas.Version, from uint64) {
	moved, before := m.moved[sessionOf(v)]
	if !before {
		moved = schemas.Moved{Nickname: v.Nickname, From: schemas.VersionID(v.Record, from)}
	}
	moved.To = schemas.VersionID(v.Record, v.Number)
	m.moved[sessionOf(v)] = moved
}

// moves are the versions that got another number, sorted; as many as may be told.
func (m *merge) moves() (all []schemas.Moved) {
	for _, moved := range m.moved {
		all = append(all, moved)
	}
	slices.SortFunc(all, func(a, b schemas.Moved) int {
		return cmp.Or(strings.Compare(a.Nickname, b.Nickname), strings.Compare(a.From, b.From), strings.Compare(a.To, b.To))
	})
	return all[:min(len(all), schemas.MaxMoved)]
}

// recordHead is a head, and whose it is.
type recordHead struct {
	nickname string
	head
}

// headsOf are what the records of those versions shall be, by key.
func (m *merge) headsOf(all map[string]*savedAt) map[string]*recordHead {
	heads := map[string]*recordHead{}
	ascending := slices.SortedFunc(maps.Values(all), func(a, b *savedAt) int { return cmp.Compare(a.version.Number, b.version.Number) })
	for _, s := range ascending {
		v := s.version
		key := recordKey(v.Nickname, v.Record)
		h := heads[key]
		if h == nil {
			h = &recordHead{v.Nickname, head{Record: schemas.Record{Name: v.Record}, Highest: m.newest[key].number, Last: m.newest[key].time}}
			heads[key] = h
		}
		h.Highest = max(h.Highest, v.Number)
		if !s.gone {
			h.count(v)
		}
	}
	return heads
}
