package coordinator

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// A session becomes a version with what the commit said, and the next session builds on it.
func TestSession(t *testing.T) {
	w := newWorld(t, 2, Options{})
	opened, committed := w.events(schemas.EventSessionOpened), w.events(schemas.EventVersionCommitted)
	s := w.open(opening("r"))
	if s.Parent != nil || s.TTL != int64(2*time.Minute) || s.Durability.String() != "1+1" || len(s.Map.Writable()) != 2 {
		t.Errorf("the session is %+v", s)
	}
	if e := bustest.Receive(t, "the event", opened); e.Subject != s.Session || e.Owner != nickname {
		t.Errorf("the event is %+v", e)
	}
	tr := w.newTree(3, 4)
	w.put(tr.all...)
	v, err := w.commit(s.Session, tr.root)
	if err != nil {
		t.Fatal(err)
	}
	if v.ID != "r@1" || v.Number != 1 || v.Root != tr.root || v.RootKind != schemas.Tree || v.Vault != schemas.SealedVault(nickname) ||
		v.Files != 3 || v.Bytes != 1000 || v.Stored != 500 || string(v.Sealed) != "sealed" || v.Source != sourceOf(1) || v.Created == 0 {
		t.Errorf("the version is %+v", v)
	}
	if e := bustest.Receive(t, "the event", committed); e.Subject != "r@1" {
		t.Errorf("the event is %+v", e)
	}
	next := w.open(opening("r"))
	if next.Parent == nil || next.Parent.ID != "r@1" {
		t.Errorf("the next session builds on %+v", next.Parent)
	}
	var rep schemas.DownloadReply
	if err := w.request(schemas.SubjectDownload, &schemas.DownloadRequest{Nickname: nickname, ID: "r@1"}, &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Content != nil || rep.Version.Root != tr.root || len(rep.Map.Nodes) != 2 {
		t.Errorf("the download is %+v", rep)
	}
}

// A commit is refused unless every chunk of the version's new part is held. The error names the
// chunk, nothing is listed, and the session can continue.
func TestCommitRefusesWhatIsIncomplete(t *testing.T) {
	w := newWorld(t, 2, Options{})
	tr := w.newTree(3, 5)
	leaf := tr.leaves[1]
	for name, missing := range map[string]schemas.ChunkID{
		"the root": tr.root, "a leaf": leaf.ID, "the first data chunk": tr.leaves[0].Data[0], "the last data chunk": tr.leaves[2].Data[4],
	} {
		t.Run(name, func(t *testing.T) {
			// A world of its own, so that no other case has brought the chunk.
			w := newWorld(t, 2, Options{})
			s := w.open(opening("r"))
			at := slices.IndexFunc(tr.all, func(c schemas.Chunk) bool { return c.ID == missing })
			w.put(slices.Concat(tr.all[:at], tr.all[at+1:])...)
			_, err := w.commit(s.Session, tr.root)
			wantCode(t, err, schemas.Incomplete)
			if names := w.list(nickname); len(names) != 0 {
				t.Errorf("the list is %v", names)
			}
			w.put(tr.all[at])
			if v, err := w.commit(s.Session, tr.root); err != nil || v.Number != 1 {
				t.Errorf("with the chunk: %+v, %v", v, err)
			}
		})
	}
	s := w.open(opening("r"))
	w.put(tr.all...)
	_, err := w.commit(s.Session, leaf.Data[0])
	wantCode(t, err, schemas.BadRequest) // a root that is no tree
	_, err = w.commit(s.Session, schemas.ChunkID{})
	wantCode(t, err, schemas.BadRequest)
	huge := commitOf(s.Session, tr.root)
	huge.Sealed = make([]byte, maxSealed+1)
	wantCode(t, w.request(schemas.SubjectSessionCommit, huge, &schemas.CommitReply{}), schemas.TooLarge)
	negative := commitOf(s.Session, tr.root)
	negative.Bytes = -1
	wantCode(t, w.request(schemas.SubjectSessionCommit, negative, &schemas.CommitReply{}), schemas.BadRequest)
}

// A misplaced chunk counts as held: the map may have changed since it was put.
func TestCommitFindsChunksElsewhere(t *testing.T) {
	w := newWorld(t, 1, Options{})
	tr := w.newTree(2, 20)
	s := w.open(opening("r"))
	w.put(tr.all...)
	w.node()
	bustest.Eventually(t, "the second node is up", func() bool { return len(w.c.members.Map().Writable()) == 2 })
	if _, err := w.commit(s.Session, tr.root); err != nil {
		t.Error(err)
	}
}

// If the parent cannot be read, the whole tree is checked, with the map as it is by then.
func TestVerifyReadsTheNewestMapWithoutTheParent(t *testing.T) {
	w := newWorld(t, 1, Options{})
	parent, next := w.newTree(1, 1), w.newTree(1, 2)
	w.put(parent.all...)
	w.put(next.all...)
	old := w.c.members.Map()
	old.Nodes = nil
	maps := []*schemas.NodeMap{old, w.c.members.Map()}
	newReader := func() *replica.Reader {
		var m *schemas.NodeMap
		m, maps = maps[0], maps[1:]
		return replica.NewReader(w.nc, m)
	}
	if err := verify(bustest.Context(t), newReader, schemas.SealedVault(nickname), next.root, parent.root, false); err != nil || len(maps) > 0 {
		t.Errorf("the error is %v, and %d maps are unused", err, len(maps))
	}
}

// A tree that is too deep is refused.
func TestCommitRefusesADeepTree(t *testing.T) {
	w := newWorld(t, 1, Options{})
	s := w.open(opening("r"))
	below := w.Tree(0, 0, 5)
	w.put(below)
	for range maxTreeDepth + 2 {
		above := w.Tree(0, 0, 5)
		above.Trees = []schemas.ChunkID{below.ID}
		above.Sum = above.Checksum()
		w.put(above)
		below = above
	}
	_, err := w.commit(s.Session, below.ID)
	wantCode(t, err, schemas.BadRequest)
}

// Chunks that have not changed since the parent are neither sent again nor checked: a commit asks
// only for the chunks that differ.
func TestVerifyCostsWhatDiffers(t *testing.T) {
	w := newWorld(t, 2, Options{})
	const leaves, data = 30, 10
	first := w.newTree(leaves, data)
	w.save(opening("r"), first)

	leaf, pieces := w.leaf(data)
	leaf.Data[0] = first.leaves[4].Data[0] // one piece has stayed
	leaf.Sum = leaf.Checksum()
	changed := slices.Clone(first.leaves)
	changed[4] = leaf
	second := w.treeOf(changed, nil)
	s := w.open(opening("r"))
	w.put(slices.Concat(pieces[1:], []schemas.Chunk{leaf, second.all[len(second.all)-1]})...)

	edges, have := w.countIDs("storage.edges.*"), w.countIDs("storage.have.*")
	if _, err := w.commit(s.Session, second.root); err != nil {
		t.Fatal(err)
	}
	// Both roots and the leaf that differs on either side; then its new data.
	if n := edges(); n != 4 {
		t.Errorf("the edges of %d chunks were read, want 4", n)
	}
	if n := have(); n != data-1 {
		t.Errorf("%d data chunks were asked for, want %d", n, data-1)
	}
}

// countIDs counts the chunks that nodes are asked for on subject.
func (w *world) countIDs(subject string) (count func() int) {
	w.t.Helper()
	sub, err := w.nc.SubscribeSync(subject)
	if err == nil {
		err = w.nc.FlushTimeout(bustest.Timeout)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return func() (n int) {
		w.t.Helper()
		if err := w.nc.FlushTimeout(bustest.Timeout); err != nil {
			w.t.Fatal(err)
		}
		for {
			m, err := sub.NextMsg(time.Millisecond)
			if errors.Is(err, nats.ErrTimeout) {
				return n
			}
			if err != nil {
				w.t.Fatal(err)
			}
			req, err := schemas.DecodeIDs(m.Data)
			if err != nil {
				w.t.Error(err)
				return n
			}
			if req.Vault != schemas.CatalogueVault() { // whose backup is made meanwhile
				n += len(req.IDs)
			}
		}
	}
}

// A session lapses unless it is renewed.
func TestSessionLapses(t *testing.T) {
	w := newWorld(t, 1, Options{SessionTTL: time.Second})
	kept, left := w.open(opening("kept")), w.open(opening("left"))
	renew := func(id string) error {
		return w.request(schemas.SubjectSessionRenew, &schemas.RenewRequest{Session: id}, &schemas.SessionReply{})
	}
	bustest.Eventually(t, "the session lapses", func() bool {
		if err := renew(kept.Session); err != nil {
			t.Fatalf("the session that is renewed: %v", err)
		}
		_, _, err := w.c.sessions.Get(bustest.Context(t), left.Session)
		return schemas.CodeOf(err) == schemas.UnknownSession
	})
	tr := w.newTree(1, 1)
	w.put(tr.all...)
	wantCode(t, renew(left.Session), schemas.UnknownSession)
	_, err := w.commit(left.Session, tr.root)
	wantCode(t, err, schemas.UnknownSession)
	if _, err := w.commit(kept.Session, tr.root); err != nil {
		t.Errorf("the session that was renewed: %v", err)
	}
	for _, id := range []string{"", "a.b", ">", "no such"} {
		wantCode(t, renew(id), schemas.BadRequest)
	}
	wantCode(t, renew("nosuch"), schemas.UnknownSession)
}

// A session that its client ends is no longer there at once, so that collections need not wait for
// it; one that was committed stays, so that its commit can be repeated.
func TestSessionEnds(t *testing.T) {
	w := newWorld(t, 1, Options{})
	failed, committed := w.open(opening("failed")), w.open(opening("committed"))
	tr := w.newTree(1, 1)
	w.put(tr.all...)
	if _, err := w.commit(committed.Session, tr.root); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{failed.Session, committed.Session} {
		if err := w.request(schemas.SubjectSessionRenew, &schemas.RenewRequest{Session: id, End: true}, &schemas.SessionReply{}); err != nil {
			t.Error(err)
		}
	}
	_, _, err := w.c.sessions.Get(bustest.Context(t), failed.Session)
	wantCode(t, err, schemas.UnknownSession)
	if _, err := w.commit(committed.Session, tr.root); err != nil {
		t.Errorf("the commit is repeated: %v", err)
	}
}

// A session becomes one version, however often and at however many coordinators it is committed.
func TestCommitTwice(t *testing.T) {
	w := newWorld(t, 1, Options{})
	second := w.coordinator(Options{})
	tr := w.newTree(2, 3)
	s := w.open(opening("r"))
	w.put(tr.all...)
	var all sync.WaitGroup
	for range 4 {
		for _, c := range []*Coordinator{w.c, second} {
			all.Go(func() {
				rep, err := c.commitSession(bustest.Context(t), commitOf(s.Session, tr.root))
				if err != nil || rep.(*schemas.CommitReply).Version.Number != 1 {
					t.Errorf("the commit gives %+v, %v", rep, err)
				}
			})
		}
	}
	all.Wait()
	if got := w.versions(nickname, "r"); !slices.Equal(got, []uint64{1}) {
		t.Errorf("the versions are %v", got)
	}
}

// A session becomes one version even if the coordinator died before it could note the commit, and
// another session has committed since and moved the record to another source.
func TestCommitTwiceAfterACrash(t *testing.T) {
	w := newWorld(t, 1, Options{})
	tr := w.newTree(1, 1)
	s := w.open(opening("r"))
	before, _, err := w.c.sessions.Get(bustest.Context(t), s.Session)
	if err != nil {
		t.Fatal(err)
	}
	w.put(tr.all...)
	if _, err := w.commit(s.Session, tr.root); err != nil {
		t.Fatal(err)
	}
	moved := opening("r")
	moved.Moved, moved.Source = true, sourceOf(2)
	w.save(moved, w.newTree(1, 1))
	_, revision, err := w.c.sessions.Get(bustest.Context(t), s.Session)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.buckets.sessions.Update(bustest.Context(t), s.Session, before, revision); err != nil {
		t.Fatal(err)
	}
	v, err := w.commit(s.Session, tr.root)
	if err != nil || v.Number != 1 {
		t.Errorf("the commit again gives %+v, %v", v, err)
	}
	if got := w.versions(nickname, "r"); !slices.Equal(got, []uint64{2, 1}) {
		t.Errorf("the versions are %v", got)
	}
}

// Sessions that commit to one record at the same time become one version each,
// numbered without a gap.
func TestConcurrentCommits(t *testing.T) {
	w := newWorld(t, 1, Options{})
	second := w.coordinator(Options{})
	const n = 8
	tr := w.newTree(1, 2)
	w.put(tr.all...)
	var sessions []string
	for range n {
		sessions = append(sessions, w.open(opening("r")).Session)
	}
	var all sync.WaitGroup
	for i, id := range sessions {
		all.Go(func() {
			c := []*Coordinator{w.c, second}[i%2]
			if _, err := c.commitSession(bustest.Context(t), commitOf(id, tr.root)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := w.versions(nickname, "r"); !slices.Equal(got, []uint64{8, 7, 6, 5, 4, 3, 2, 1}) {
		t.Errorf("the versions are %v", got)
	}
	h, err := w.c.catalog.Head(bustest.Context(t), nickname, "r")
	if err != nil || h.Latest != n || h.Versions != n {
		t.Errorf("the head is %+v, %v", h, err)
	}
}

// After a crash between the creation of a version and the move of the head, the next commit follows
// on that version and moves the head.
func TestHeadIsRepaired(t *testing.T) {
	w := newWorld(t, 1, Options{})
	tr := w.newTree(1, 1)
	w.save(opening("r"), tr)
	lost := &schemas.Version{Nickname: nickname, Record: "r", Root: tr.root, RootKind: schemas.Tree, Session: "lost", Source: sourceOf(1)}
	if err := w.createVersion(lost, 2); err != nil {
		t.Fatal(err)
	}
	if v := w.save(opening("r"), w.newTree(1, 1)); v.Number != 3 {
		t.Errorf("the version after the lost one is %d", v.Number)
	}
	h, err := w.c.catalog.Head(bustest.Context(t), nickname, "r")
	if err != nil || h.Latest != 3 || h.Versions != 3 {
		t.Errorf("the head is %+v, %v", h, err)
	}
	if got := w.versions(nickname, "r"); !slices.Equal(got, []uint64{3, 2, 1}) {
		t.Errorf("the versions are %v", got)
	}
}

// A name stands for one source, and for either sealed or unsealed content. Only a session that says
// that the source has moved changes the source.
func TestNameTaken(t *testing.T) {
	w := newWorld(t, 1, Options{})
	w.save(opening("r"), w.newTree(1, 1))
	w.transmit(nickname, "plain", "x")
	other := func(record string, moved bool) *schemas.SessionRequest {
		req := opening(record)
		req.Source, req.Moved = sourceOf(2), moved
		return req
	}
	refused := func(req *schemas.SessionRequest) {
		t.Helper()
		wantCode(t, w.request(schemas.SubjectSessionOpen, req, &schemas.SessionReply{}), schemas.NameTaken)
	}
	refused(other("r", false))
	refused(other("plain", false))
	refused(other("plain", true)) // moving does not unseal
	content := []byte("x")
	err := w.request(schemas.SubjectTransmit, &schemas.TransmitRequest{Nickname: nickname, Record: "r", Content: &content}, &schemas.TransmitReply{})
	wantCode(t, err, schemas.NameTaken)

	if v := w.save(other("r", true), w.newTree(1, 1)); v.Number != 2 || v.Source != sourceOf(2) {
		t.Errorf("the moved version is %+v", v)
	}
	refused(opening("r")) // the old source is another one now
	w.save(other("r", false), w.newTree(1, 1))
}

// If two sources begin a record at the same time, only one gets it, even if a crash has kept its
// version out of the head.
func TestNameTakenAtCommit(t *testing.T) {
	for name, crash := range map[string]bool{"in turn": false, "after a crash": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, Options{})
			late := opening("r")
			late.Source = sourceOf(2)
			one, two := w.open(opening("r")), w.open(late)
			tr := w.newTree(1, 1)
			w.put(tr.all...)
			if crash {
				v := &schemas.Version{Nickname: nickname, Record: "r", Root: tr.root, RootKind: schemas.Tree, Session: one.Session, Source: sourceOf(1)}
				if err := w.createVersion(v, 1); err != nil {
					t.Fatal(err)
				}
			} else if _, err := w.commit(one.Session, tr.root); err != nil {
				t.Fatal(err)
			}
			_, err := w.commit(two.Session, tr.root)
			wantCode(t, err, schemas.NameTaken)
			if v, err := w.commit(one.Session, tr.root); err != nil || v.Number != 1 {
				t.Errorf("the first one's commit gives %+v, %v", v, err)
			}
			if got := w.versions(nickname, "r"); !slices.Equal(got, []uint64{1}) {
				t.Errorf("the versions are %v", got)
			}
		})
	}
}

// Two machines with different keys cannot use the same vault. The seed's transmit has no key, and
// does not prevent the first client from setting one.
func TestOtherKey(t *testing.T) {
	w := newWorld(t, 1, Options{})
	w.transmit(nickname, "plain", "x")
	w.open(opening("r"))
	other := opening("another")
	other.Fingerprint = slices.Repeat([]byte{9}, 16)
	wantCode(t, w.request(schemas.SubjectSessionOpen, other, &schemas.SessionReply{}), schemas.OtherKey)
	other.Nickname = "bob"
	w.open(other)
	w.open(opening("r"))
}

// The request for a session is checked before anything is written.
func TestBadSessions(t *testing.T) {
	w := newWorld(t, 1, Options{})
	for name, bad := range map[string]struct {
		change func(*schemas.SessionRequest)
		code   schemas.Code
	}{
		"newer protocol":      {func(r *schemas.SessionRequest) { r.Protocol++ }, schemas.TooNew},
		"no nickname":         {func(r *schemas.SessionRequest) { r.Nickname = "" }, schemas.BadName},
		"a record with slash": {func(r *schemas.SessionRequest) { r.Record = "a/b" }, schemas.BadName},
		"no fingerprint":      {func(r *schemas.SessionRequest) { r.Fingerprint = nil }, schemas.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			req := opening("r")
			bad.change(req)
			wantCode(t, w.request(schemas.SubjectSessionOpen, req, &schemas.SessionReply{}), bad.code)
		})
	}
	wantCode(t, w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname}, &schemas.ListReply{}), schemas.UnknownNickname)
}

// A client that expects another system is refused before anything is changed for it.
func TestAnotherSystemIsRefused(t *testing.T) {
	w := newWorld(t, 1, Options{})
	w.transmit("somebody", "f", "one") // so that the system has its id
	req := opening("r")
	req.System = "another"
	wantCode(t, w.request(schemas.SubjectSessionOpen, req, &schemas.SessionReply{}), schemas.OtherSystem)
	var names schemas.NicknamesReply
	if err := w.request(schemas.SubjectNicknames, &schemas.NicknamesRequest{}, &names); err != nil || len(names.Nicknames) != 1 {
		t.Errorf("the nicknames are %q, %v", names.Nicknames, err)
	}
	req.System = w.system()
	if err := w.request(schemas.SubjectSessionOpen, req, &schemas.SessionReply{}); err != nil {
		t.Error(err)
	}
}

// The first session tells the client which system it is in, although the system may get its id only
// then.
func TestFirstSessionNamesTheSystem(t *testing.T) {
	w := newWorld(t, 1, Options{})
	var rep schemas.SessionReply
	if err := w.request(schemas.SubjectSessionOpen, opening("r"), &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Map.System == "" || rep.Map.System != w.system() {
		t.Errorf("the session's map is of the system %q, and the system is %q", rep.Map.System, w.system())
	}
}
