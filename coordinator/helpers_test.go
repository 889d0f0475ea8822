package coordinator

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/vmihailenco/msgpack/v5"
	"go.uber.org/goleak"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func wantCode(t *testing.T, err error, want schemas.Code) {
	t.Helper()
	if err == nil || schemas.CodeOf(err) != want {
		t.Errorf("the error is %v of code %q, want %q", err, schemas.CodeOf(err), want)
	}
}

// world is a server with a coordinator, any number of nodes, and a client's connection.
type world struct {
	*storagetest.Maker
	t      *testing.T
	server *embedded.Server
	nc     *nats.Conn
	c      *Coordinator
}

func newWorld(t *testing.T, nodes int, opt Options) *world {
	t.Helper()
	w := &world{Maker: storagetest.NewMaker(1), t: t, server: bustest.Server(t)}
	w.nc = bustest.Connect(t, w.server)
	w.c = w.coordinator(opt)
	for range nodes {
		w.node()
	}
	return w
}

// coordinator starts one more coordinator.
func (w *world) coordinator(opt Options) *Coordinator {
	w.t.Helper()
	c, err := Start(bustest.Context(w.t), bustest.Connect(w.t, w.server), opt)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			w.t.Error(err)
		}
	})
	return c
}

// runningNode is a node with its connection and its store.
type runningNode struct {
	*node.Node
	nc    *nats.Conn
	store *storage.Store
}

func (w *world) node() *runningNode {
	w.t.Helper()
	return w.nodeOn(storagetest.Open(w.t, w.t.TempDir(), storage.Options{}))
}

func (w *world) nodeOn(store *storage.Store) *runningNode {
	w.t.Helper()
	nc := bustest.Connect(w.t, w.server)
	n, err := node.Start(bustest.Context(w.t), nc, store, node.Options{Weight: 1, Version: "v1"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = n.Stop() }) // some tests close its connection
	return &runningNode{n, nc, store}
}

// ask sends one of the seed's messages, field by field, and decodes the answer.
func (w *world) ask(subject string, message map[string]any) (rep map[string]any) {
	w.t.Helper()
	b, err := msgpack.Marshal(message)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := bus.RequestRaw(bustest.Context(w.t), w.nc, subject, b)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := msgpack.Unmarshal(answer, &rep); err != nil {
		w.t.Fatal(err)
	}
	return rep
}

func (w *world) request(subject string, req any, rep bus.Reply) error {
	w.t.Helper()
	return bus.Request(bustest.Context(w.t), w.nc, subject, req, rep)
}

// transmit saves a small file and returns its version's id.
func (w *world) transmit(nickname, record, content string) string {
	w.t.Helper()
	var rep schemas.TransmitReply
	b := []byte(content)
	if err := w.request(schemas.SubjectTransmit, &schemas.TransmitRequest{Nickname: nickname, Record: record, Content: &b}, &rep); err != nil {
		w.t.Fatal(err)
	}
	return rep.ID
}

func (w *world) list(nickname string) (names []string) {
	w.t.Helper()
	var rep schemas.ListReply
	if err := w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname}, &rep); err != nil {
		w.t.Fatal(err)
	}
	return rep.Names
}

func (w *world) versions(nickname, record string) (numbers []uint64) {
	w.t.Helper()
	var rep schemas.ListReply
	if err := w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname, Record: record}, &rep); err != nil {
		w.t.Fatal(err)
	}
	for _, v := range rep.Versions {
		numbers = append(numbers, v.Number)
	}
	return numbers
}

const nickname = "ana"

// sourceOf makes the source of that number.
func sourceOf(n byte) schemas.SourceID { return schemas.SourceID{n} }

// opening is a session request for a record of ana's, from source 1.
func opening(record string) *schemas.SessionRequest {
	return &schemas.SessionRequest{Protocol: schemas.ProtocolVersion, Nickname: nickname, Record: record,
		Source: sourceOf(1), Fingerprint: make([]byte, 16)}
}

func (w *world) open(req *schemas.SessionRequest) *schemas.SessionReply {
	w.t.Helper()
	rep := new(schemas.SessionReply)
	if err := w.request(schemas.SubjectSessionOpen, req, rep); err != nil {
		w.t.Fatalf("open a session for %s: %v", req.Record, err)
	}
	return rep
}

func (w *world) commit(session string, root schemas.ChunkID) (*schemas.Version, error) {
	w.t.Helper()
	var rep schemas.CommitReply
	err := w.request(schemas.SubjectSessionCommit, commitOf(session, root), &rep)
	return rep.Version, err
}

func commitOf(session string, root schemas.ChunkID) *schemas.CommitRequest {
	return &schemas.CommitRequest{Session: session, Root: root, Files: 3, Bytes: 1000, Stored: 500, Sealed: []byte("sealed")}
}

// save runs a whole session: open, put, commit.
func (w *world) save(req *schemas.SessionRequest, tr tree) *schemas.Version {
	w.t.Helper()
	s := w.open(req)
	w.put(tr.all...)
	v, err := w.commit(s.Session, tr.root)
	if err != nil {
		w.t.Fatalf("commit %s: %v", req.Record, err)
	}
	return v
}

// put sends chunks to the nodes they are assigned to, one message for each chunk and node.
func (w *world) put(chunks ...schemas.Chunk) {
	w.t.Helper()
	w.putOf(nickname, chunks...)
}

func (w *world) putOf(nickname string, chunks ...schemas.Chunk) {
	w.t.Helper()
	m, vault := w.c.members.Map(), schemas.SealedVault(nickname)
	p := placement.New(m)
	for i := range chunks {
		for _, n := range p.Place(nil, chunks[i].ID, m.DurabilityOf(vault).Replicas()) {
			w.putAt(n, vault, chunks[i])
		}
	}
}

func (w *world) putAt(n schemas.NodeID, vault schemas.VaultID, chunk schemas.Chunk) {
	w.t.Helper()
	b := schemas.NewPut(nil, "test", vault)
	b.Add(&chunk)
	var rep schemas.PutReply
	answer, err := bus.RequestRaw(bustest.Context(w.t), w.nc, schemas.PutSubject([]schemas.NodeID{n}), b.Put())
	if err == nil {
		err = schemas.Unmarshal(answer, &rep)
	}
	if err == nil {
		err = rep.Err()
	}
	if err != nil {
		w.t.Fatalf("put: %v", err)
	}
}

// Keys of the catalogue, as docs/formats.md gives them.

func recordKey(nickname, record string) string {
	return "record." + kv.Token(nickname) + "." + kv.Token(record)
}

func versionKey(nickname, record string, number uint64) string {
	return fmt.Sprintf("version.%s.%s.%010d", kv.Token(nickname), kv.Token(record), number)
}

// createVersion creates a version as a commit does that dies before it moves the head.
func (w *world) createVersion(v *schemas.Version, number uint64) error {
	w.t.Helper()
	v.Number, v.ID, v.Created = number, schemas.VersionID(v.Record, number), time.Now().UnixNano()
	_, err := w.c.buckets.catalogue.Create(bustest.Context(w.t), versionKey(v.Nickname, v.Record, number), v)
	return err
}

// tree is a sealed tree as a coordinator sees it: edges and bytes.
type tree struct {
	root   schemas.ChunkID
	leaves []schemas.Chunk
	all    []schemas.Chunk // leaves, their data, and the root
}

// newTree makes that many leaves with data chunks each, under one root.
func (w *world) newTree(leaves, data int) tree {
	var all []schemas.Chunk
	var made []schemas.Chunk
	for range leaves {
		leaf, pieces := w.leaf(data)
		made, all = append(made, leaf), append(all, pieces...)
	}
	return w.treeOf(made, all)
}

func (w *world) leaf(data int) (leaf schemas.Chunk, pieces []schemas.Chunk) {
	leaf = w.Tree(0, 0, 20)
	for range data {
		piece := w.Data(30)
		pieces, leaf.Data = append(pieces, piece), append(leaf.Data, piece.ID)
	}
	leaf.Sum = leaf.Checksum()
	return leaf, pieces
}

// treeOf makes a root above leaves; more are further chunks of the tree.
func (w *world) treeOf(leaves, more []schemas.Chunk) tree {
	root := w.Tree(0, 0, 10)
	for i := range leaves {
		root.Trees = append(root.Trees, leaves[i].ID)
	}
	root.Sum = root.Checksum()
	return tree{root: root.ID, leaves: leaves, all: slices.Concat(more, leaves, []schemas.Chunk{root})}
}

// events receives the events of a kind from now on.
func (w *world) events(kind string) <-chan schemas.Event {
	w.t.Helper()
	events := make(chan schemas.Event, 1000)
	_, err := w.nc.Subscribe(schemas.EventSubject(kind), func(m *nats.Msg) {
		var e schemas.Event
		if err := schemas.Unmarshal(m.Data, &e); err != nil {
			w.t.Error(err)
		}
		events <- e
	})
	if err == nil {
		err = w.nc.FlushTimeout(bustest.Timeout)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return events
}
