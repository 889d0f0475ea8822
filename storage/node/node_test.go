package node_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// Acknowledged chunks are held, and are read back over the bus unchanged.
func TestRoundTrip(t *testing.T) {
	f := newFixture(t, storage.Options{}, node.Options{})
	chunks := f.Mixed()
	if rep := f.put("s", chunks...); rep.Err() != nil || rep.Node != f.id || rep.Window < schemas.MaxBatch {
		t.Fatalf("the answer is %+v", rep)
	}
	storagetest.Holds(t, f.store, chunks...)
	f.gets(chunks...)
	tree, missing := chunks[7], f.Data(1)
	held, err := f.reader().Have(bustest.Context(t), storagetest.Vault, []schemas.ChunkID{missing.ID, tree.ID})
	if err != nil || held[0] || !held[1] {
		t.Errorf("held are %v, %v", held, err)
	}
	err = f.reader().Fetch(bustest.Context(t), storagetest.Vault, []schemas.ChunkID{tree.ID}, true, func(_ int, c *schemas.Chunk) error {
		if len(c.Trees) != len(tree.Trees) || len(c.Data) != len(tree.Data) || len(c.Content) != 0 {
			t.Errorf("%d+%d edges and %d bytes came", len(c.Trees), len(c.Data), len(c.Content))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A put to a set of two nodes reaches each node once, in either order of the set, and is done
// when both hold the chunk.
func TestReplicaSet(t *testing.T) {
	f := newFixture(t, storage.Options{}, node.Options{})
	other := storagetest.Open(t, t.TempDir(), storage.Options{})
	start(t, f.nc, other, node.Options{})
	sender, err := replica.NewWriter(f.nc, replica.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for _, set := range [][]schemas.NodeID{{f.id, other.NodeID()}, {other.NodeID(), f.id}} {
		chunk := f.Data(5000)
		b := schemas.NewPut(nil, "s", storagetest.Vault)
		b.Add(&chunk)
		done := make(chan error, 1)
		if err := sender.Send(bustest.Context(t), set, b.Put(), func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		if err := bustest.Receive(t, "the acknowledgement", done); err != nil {
			t.Fatal(err)
		}
		storagetest.Holds(t, f.store, chunk)
		storagetest.Holds(t, other, chunk)
	}
}

// Many sessions put at the same time, within the windows that the node grants.
func TestManySessions(t *testing.T) {
	f := newFixture(t, storage.Options{}, node.Options{})
	var all sync.WaitGroup
	for i := range 4 {
		maker := storagetest.NewMaker(byte(10 + i))
		all.Go(func() {
			sender, err := replica.NewWriter(f.nc, replica.WriterOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			defer sender.Close()
			const messages = 15
			var chunks []schemas.Chunk
			done := make(chan error, messages)
			for range messages {
				chunk := maker.Data(20_000)
				chunks = append(chunks, chunk)
				b := schemas.NewPut(nil, string(rune('a'+i)), storagetest.Vault)
				b.Add(&chunk)
				if err := sender.Send(bustest.Context(t), []schemas.NodeID{f.id}, b.Put(), func(err error) { done <- err }); err != nil {
					t.Error(err)
					return
				}
			}
			for range messages {
				if err := bustest.Receive(t, "an acknowledgement", done); err != nil {
					t.Error(err)
				}
			}
			storagetest.Holds(t, f.store, chunks...)
		})
	}
	all.Wait()
}

// Every bad put is answered with the reason, the node and a window, so that its sender does not
// wait; and nothing of it is stored.
func TestBadPuts(t *testing.T) {
	f := newFixture(t, storage.Options{}, node.Options{})
	build := func(change func(c *schemas.Chunk)) []byte {
		c := f.Data(50)
		change(&c)
		b := schemas.NewPut(nil, "s", storagetest.Vault)
		b.Add(&c)
		return b.Put()
	}
	whole := build(func(*schemas.Chunk) {})
	for name, bad := range map[string]struct {
		message []byte
		code    schemas.Code
	}{
		"empty":            {nil, schemas.BadRequest},
		"not msgpack":      {[]byte("\xc1"), schemas.BadRequest},
		"no chunks":        {[]byte("\x80"), schemas.BadRequest},
		"cut off":          {whole[:len(whole)-1], schemas.BadRequest},
		"wrong checksum":   {build(func(c *schemas.Chunk) { c.Sum[0]++ }), schemas.BadChunk},
		"changed content":  {build(func(c *schemas.Chunk) { c.Content[9] ^= 1 }), schemas.BadChunk},
		"no id":            {build(func(c *schemas.Chunk) { c.ID = schemas.ChunkID{} }), schemas.BadChunk},
		"unknown kind":     {build(func(c *schemas.Chunk) { c.Kind = 77; c.Sum = c.Checksum() }), schemas.BadChunk},
		"edges of a piece": {build(func(c *schemas.Chunk) { c.Data = []schemas.ChunkID{{1}}; c.Sum = c.Checksum() }), schemas.BadChunk},
	} {
		t.Run(name, func(t *testing.T) {
			rep := f.putRaw(bad.message)
			storagetest.Code(t, rep.Err(), bad.code)
			if rep.Status != bad.code.Status() || rep.Node != f.id || rep.Window <= 0 || rep.Message == "" {
				t.Errorf("the answer is %+v", rep)
			}
		})
	}
	if n := f.store.Stats().Chunks; n != 0 {
		t.Errorf("the store holds %d chunks", n)
	}
	good := f.Data(10)
	if rep := f.put("s", good); rep.Err() != nil {
		t.Errorf("a good put after the bad ones: %+v", rep)
	}
}

// A bad request for chunks is refused, with the reason.
func TestBadRequests(t *testing.T) {
	f := newFixture(t, storage.Options{}, node.Options{})
	for _, subject := range []string{schemas.GetSubject(f.id), schemas.EdgesSubject(f.id), schemas.HaveSubject(f.id)} {
		for name, message := range map[string][]byte{
			"no ids":     (&schemas.IDsRequest{}).Encode(),
			"too many":   (&schemas.IDsRequest{IDs: make([]schemas.ChunkID, replica.MaxIDs+1)}).Encode(),
			"garbage":    []byte("hello"),
			"half an id": []byte("\x81\xaaid_arquivo\xc4\x02xx"),
		} {
			answer, err := bus.RequestRaw(bustest.Context(t), f.nc, subject, message)
			if err != nil {
				t.Fatal(err)
			}
			var rep schemas.Reply
			if err := schemas.Unmarshal(answer, &rep); err != nil || rep.Status != 158 || rep.Code != schemas.BadRequest {
				t.Errorf("%s with %s: %+v, %v", subject, name, rep, err)
			}
		}
	}
}

// An answer is never larger than a message, whatever the request. A client that asks again
// for the chunks that did not fit gets all of them.
func TestAnswersFitAMessage(t *testing.T) {
	f := newFixture(t, storage.Options{}, node.Options{})
	var big []schemas.Chunk
	for range 6 {
		c := f.Data(340_000) // three nearly fill a message
		big = append(big, c)
		if rep := f.put("s", c); rep.Err() != nil {
			t.Fatal(rep.Err())
		}
	}
	f.gets(big...)

	missing := make([]schemas.ChunkID, replica.MaxIDs)
	for i := range missing {
		missing[i] = schemas.ChunkID{1, byte(i), byte(i >> 8)}
	}
	bigIDs := []schemas.ChunkID{big[0].ID, big[1].ID, big[2].ID, big[3].ID}
	for name, ids := range map[string][]schemas.ChunkID{
		"all missing":       missing,
		"many then missing": append(bigIDs[:3:3], missing[:4000]...),
		"missing then many": append(missing[:300:300], bigIDs...),
	} {
		t.Run(name, func(t *testing.T) {
			answer := f.ask(schemas.GetSubject(f.id), ids)
			rep, err := schemas.DecodeChunks(answer)
			if err != nil {
				t.Fatal(err)
			}
			if len(answer) > schemas.MaxBatch || len(rep.Chunks)+len(rep.Failed) == 0 {
				t.Errorf("%d bytes with %d chunks and %d failures", len(answer), len(rep.Chunks), len(rep.Failed))
			}
			err = f.reader().Fetch(bustest.Context(t), storagetest.Vault, ids, false, func(int, *schemas.Chunk) error { return nil })
			storagetest.Code(t, err, schemas.NotHeld)
		})
	}
}

// A node whose disk is full refuses puts with 906 disk-full, and takes them again when there
// is space. Reads go on, and the card tells of the trouble.
func TestDiskFull(t *testing.T) {
	fs := vfs.NewMem()
	f := newFixture(t, storage.Options{FS: fs, ReserveBytes: 5000}, node.Options{})
	cards := heartbeats(t, f.nc)
	held, refused := f.Data(1000), f.Data(1000)
	if rep := f.put("s", held); rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 5500, TotalBytes: 10_000})
	rep := f.put("s", refused)
	storagetest.Code(t, rep.Err(), schemas.DiskFull)
	if rep.Status != 906 || rep.Node != f.id {
		t.Errorf("the answer is %+v", rep)
	}
	f.gets(held)
	bustest.Eventually(t, "the card tells of the full disk", func() bool {
		card := bustest.Receive(t, "a heartbeat", cards)
		return card.Trouble == string(schemas.DiskFull) && card.State == schemas.Up
	})
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 9000, TotalBytes: 10_000})
	if rep := f.put("s", refused); rep.Err() != nil {
		t.Errorf("with space again: %v", rep.Err())
	}
	f.gets(held, refused)
	bustest.Eventually(t, "the card tells of no trouble", func() bool { return bustest.Receive(t, "a heartbeat", cards).Trouble == "" })
}

// A node whose disk has failed refuses puts with 906 disk-failed until it is restarted. Reads go
// on.
func TestDiskFailed(t *testing.T) {
	fault := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData {
			return errorfs.ErrInjected
		}
		return nil
	})}
	f := newFixture(t, storage.Options{FS: errorfs.Wrap(vfs.NewMem(), fault)}, node.Options{})
	held := f.Data(1000)
	if rep := f.put("s", held); rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	fault.On()
	rep := f.put("s", f.Data(10))
	fault.Off()
	storagetest.Code(t, rep.Err(), schemas.DiskFailed)
	rep = f.put("s", f.Data(10))
	storagetest.Code(t, rep.Err(), schemas.DiskFailed)
	if rep.Status != 906 {
		t.Errorf("the answer is %+v", rep)
	}
	f.gets(held)
}

// After Stop the node is not subscribed to anything, and the store can be closed, since no put
// is under way.
func TestStopEndsSubscriptionsAndPuts(t *testing.T) {
	f := newFixture(t, storage.Options{}, node.Options{})
	if err := f.node.Stop(); err != nil {
		t.Fatal(err)
	}
	storagetest.CloseClean(t, f.store)
	bustest.Eventually(t, "the node is not subscribed", func() bool {
		_, err := bus.RequestRaw(bustest.Context(t), f.nc, schemas.GetSubject(f.id), []byte("x"))
		return errors.Is(err, bus.ErrNoResponders)
	})
}
