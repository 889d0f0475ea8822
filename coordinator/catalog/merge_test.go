package catalog

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"servidor-backup/schemas"
)

// mergeModel makes catalogues, each of which begins empty or with the result of a merge, and
// remembers which versions there should be.
type mergeModel struct {
	t         *testing.T
	rng       *rand.Rand
	catalogue uint64 // the first revision of the present one
	revision  uint64
	now       map[string]*schemas.CatalogueEntry
	highest   uint64 // in the record's head
	backup    []*schemas.CatalogueEntry

	alive     map[string]bool // by session: whether it is forgotten
	collected map[string]bool
	order     []string // sessions as they were made
}

func (m *mergeModel) write(v *schemas.Version, deleted bool) {
	m.revision++
	value, err := schemas.Marshal(v)
	if err != nil {
		m.t.Fatal(err)
	}
	e := &schemas.CatalogueEntry{Key: versionKey(v.Nickname, v.Record, v.Number), Revision: m.revision, Value: value, Deleted: deleted}
	m.now[e.Key] = e
	m.backup = append(m.backup, e)
}

// pick picks a version that was not collected, or nil.
func (m *mergeModel) pick() *schemas.Version {
	keys := slices.Sorted(maps.Keys(m.now))
	if len(keys) == 0 {
		return nil
	}
	e := m.now[keys[m.rng.IntN(len(keys))]]
	v := new(schemas.Version)
	if err := schemas.Unmarshal(e.Value, v); err != nil {
		m.t.Fatal(err)
	}
	if e.Deleted {
		return nil
	}
	return v
}

func (m *mergeModel) step() {
	switch m.rng.IntN(9) {
	case 0, 1, 2, 3:
		m.save()
	case 4, 5:
		if v := m.pick(); v != nil {
			v.Forgotten = 1 - v.Forgotten
			m.write(v, false)
			m.alive[v.Session] = v.Forgotten > 0
		}
	case 6:
		if v := m.pick(); v != nil {
			m.write(tombstoneOf(v), true)
			delete(m.alive, v.Session)
			m.collected[v.Session] = true
		}
	case 7: // JetStream loses the last write
		for key, e := range m.now {
			if e.Revision == m.revision && !e.Deleted && numberIn(m.t, e) == m.highest {
				delete(m.now, key)
				m.highest--
			}
		}
	case 8:
		m.catalogue += 1000
		m.revision, m.now, m.highest = m.catalogue, map[string]*schemas.CatalogueEntry{}, 0
	}
}

// save gives a number as a commit does: the first free one above that of the head.
func (m *mergeModel) save() {
	m.highest++
	for m.now[m.key(m.highest)] != nil && !m.now[m.key(m.highest)].Deleted {
		m.highest++
	}
	session := fmt.Sprint("session ", len(m.order))
	m.write(&schemas.Version{Nickname: "ana", Record: "r", Number: m.highest, ID: schemas.VersionID("r", m.highest), Session: session,
		Created: int64(len(m.order) + 1)}, false)
	m.alive[session], m.order = false, append(m.order, session)
}

func (m *mergeModel) key(number uint64) string { return versionKey("ana", "r", number) }

// merge does what a rebuild does to the catalogue. It may be broken off.
func (m *mergeModel) merge(breakOff bool) {
	m.t.Helper()
	all := newMerge()
	for _, e := range m.backup {
		m.add(all, e)
	}
	before := map[string]uint64{}
	for _, e := range m.now {
		m.add(all, e)
	}
	for session, s := range all.versions {
		before[session] = s.number
	}
	result := all.renumber()
	seen, last := map[string]uint64{}, uint64(0)
	for key, s := range result {
		v := s.version
		if versionKey("ana", "r", v.Number) != key || v.ID != schemas.VersionID("r", v.Number) || seen[v.Session] > 0 {
			m.t.Errorf("%s has %+v, %v", key, v, s.collected)
		}
		seen[v.Session] = v.Number
		forgotten, alive := m.alive[v.Session]
		if alive == s.collected || alive && forgotten != (v.Forgotten > 0) || m.collected[v.Session] != s.collected {
			m.t.Errorf("%s is %+v, collected: %v", v.Session, v, s.collected)
		}
		moved, told := all.moved[v.Session]
		if want := (schemas.Moved{Nickname: "ana", From: schemas.VersionID("r", before[v.Session]), To: v.ID}); told && moved != want || told != (alive && before[v.Session] != v.Number) {
			m.t.Errorf("%s at %d was moved: %+v, %v", v.Session, before[v.Session], moved, told)
		}
	}
	for _, session := range m.order {
		if seen[session] <= last {
			m.t.Errorf("%s has the number %d after %d", session, seen[session], last)
		}
		last = seen[session]
	}
	// The order of the writes: free keys first, else any.
	left := -1
	if breakOff {
		left = m.rng.IntN(10)
	}
	for _, taken := range []bool{false, true} {
		for key, s := range result {
			old := m.now[key]
			if taken != (old != nil && !old.Deleted) || old != nil && old.Deleted == s.collected && sessionIn(m.t, old) == s.version.Session {
				continue
			}
			if left--; left == -1 {
				return
			}
			m.write(s.version, s.collected)
		}
	}
	for key, e := range m.now {
		if result[key] == nil && !e.Deleted {
			if left--; left == -1 {
				return
			}
			m.write(&schemas.Version{Nickname: "ana", Record: "r", Number: numberIn(m.t, e)}, true)
		}
	}
	for _, s := range result {
		m.highest = max(m.highest, s.version.Number)
	}
	known := knowledge{revisions: map[string]uint64{}, sessions: map[string]bool{}}
	for key, e := range m.now {
		known.revisions[key], known.sessions[sessionIn(m.t, e)] = e.Revision, true
	}
	for _, e := range m.backup {
		e := *e
		e.Revision = 0 // the base puts it below
		if known.lacks(&e) {
			m.t.Errorf("no collection could run because of %s: %+v", e.Key, versionIn(m.t, &e))
		}
	}
	again := newMerge()
	for _, e := range m.backup {
		m.add(again, e)
	}
	for _, e := range m.now {
		m.add(again, e)
	}
	for key, s := range again.renumber() {
		if was := result[key]; was == nil || was.collected != s.collected || was.version.Session != s.version.Session {
			m.t.Errorf("a second merge makes of %s %+v", key, s)
		}
	}
	if len(again.moved) > 0 {
		m.t.Errorf("a second merge moves %v", again.moved)
	}
}

func (m *mergeModel) add(all *merge, e *schemas.CatalogueEntry) {
	m.t.Helper()
	if err := all.add(e); err != nil {
		m.t.Fatal(err)
	}
}

func versionIn(t *testing.T, e *schemas.CatalogueEntry) (v schemas.Version) {
	t.Helper()
	if err := schemas.Unmarshal(e.Value, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func sessionIn(t *testing.T, e *schemas.CatalogueEntry) string { return versionIn(t, e).Session }

func numberIn(t *testing.T, e *schemas.CatalogueEntry) uint64 { return versionIn(t, e).Number }

// However catalogues were lost, whatever was done in the next ones, and whether they were
// rebuilt in between: after a merge all versions are there, in the order in which they were
// saved and as they were left. Collected versions stay deleted, and a second merge changes
// nothing.
func TestMerge(t *testing.T) {
	for seed := range uint64(100) {
		m := &mergeModel{t: t, rng: rand.New(rand.NewPCG(seed, 1)), catalogue: 1000, revision: 1000,
			now: map[string]*schemas.CatalogueEntry{}, alive: map[string]bool{}, collected: map[string]bool{}}
		for range 30 {
			m.step()
			if m.rng.IntN(10) == 0 {
				m.merge(m.rng.IntN(2) == 0)
			}
		}
		m.merge(false)
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// A vault keeps its key when the seed's transmit, which has none, has used its nickname since.
// Of two keys the newer one holds.
func TestMergeVaults(t *testing.T) {
	entry := func(revision uint64, fingerprint string) *schemas.CatalogueEntry {
		value, err := schemas.Marshal(&Vault{Nickname: "ana", Fingerprint: []byte(fingerprint)})
		if err != nil {
			t.Fatal(err)
		}
		return &schemas.CatalogueEntry{Key: vaultKey("ana"), Revision: revision, Value: value}
	}
	for _, c := range []struct {
		entries []*schemas.CatalogueEntry
		want    string
	}{
		{[]*schemas.CatalogueEntry{entry(1, "a"), entry(2, "")}, "a"},
		{[]*schemas.CatalogueEntry{entry(2, ""), entry(1, "a")}, "a"},
		{[]*schemas.CatalogueEntry{entry(1, "a"), entry(2, "b"), entry(3, "")}, "b"},
		{[]*schemas.CatalogueEntry{entry(2, "b"), entry(1, "a")}, "b"},
		{[]*schemas.CatalogueEntry{entry(1, ""), {Key: vaultKey("ana"), Revision: 2, Deleted: true}}, ""},
	} {
		m := newMerge()
		for _, e := range c.entries {
			if err := m.add(e); err != nil {
				t.Fatal(err)
			}
		}
		var v Vault
		if err := schemas.Unmarshal(m.values[vaultKey("ana")].Value, &v); err != nil || string(v.Fingerprint) != c.want {
			t.Errorf("the fingerprint is %q, %v, want %q", v.Fingerprint, err, c.want)
		}
	}
}
