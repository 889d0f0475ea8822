package node_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

func TestMain(m *testing.M) {
	if t := os.Getenv(clientVariable); t != "" {
		if err := beClient(t); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// registrar is a coordinator that only registers nodes.
type registrar struct {
	service *bus.Service
	cards   chan schemas.Node // of each registration
}

func newRegistrar(t testing.TB, nc *nats.Conn, refuse error) *registrar {
	t.Helper()
	r := &registrar{cards: make(chan schemas.Node, 100)}
	var err error
	if r.service, err = bus.NewService(nc, bus.ServiceConfig{Name: "backup-coordinator"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.service.Stop() })
	err = bus.Handle(r.service, "register", schemas.SubjectRegister, func(_ context.Context, req *schemas.RegisterRequest) (any, error) {
		r.cards <- req.Node
		return &schemas.RegisterReply{Reply: schemas.OK, Epoch: 1, Heartbeat: int64(100 * time.Millisecond)}, refuse
	})
	if err == nil {
		err = r.service.Ready(bustest.Context(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// heartbeats returns the cards that nodes publish.
func heartbeats(t *testing.T, nc *nats.Conn) <-chan schemas.Node {
	t.Helper()
	cards := make(chan schemas.Node, 1000)
	_, err := nc.Subscribe(schemas.SubjectAlive, func(m *nats.Msg) {
		var req schemas.RegisterRequest
		if err := schemas.Unmarshal(m.Data, &req); err != nil {
			t.Error(err)
		}
		cards <- req.Node
	})
	if err == nil {
		err = nc.FlushTimeout(bustest.Timeout)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cards
}

// fixture is a running node, and a connection to it.
type fixture struct {
	*storagetest.Maker
	t     *testing.T
	store *storage.Store
	node  *node.Node
	nc    *nats.Conn
	id    schemas.NodeID
}

func newFixture(t *testing.T, store storage.Options, opt node.Options) *fixture {
	t.Helper()
	s := bustest.Server(t)
	newRegistrar(t, bustest.Connect(t, s), nil)
	f := &fixture{Maker: storagetest.NewMaker(1), t: t, nc: bustest.Connect(t, s)}
	f.store = storagetest.Open(t, t.TempDir(), store)
	f.id = f.store.NodeID()
	f.node = start(t, bustest.Connect(t, s), f.store, opt)
	return f
}

// start starts a node and stops it with the test.
func start(t *testing.T, nc *nats.Conn, store *storage.Store, opt node.Options) *node.Node {
	t.Helper()
	n, err := node.Start(bustest.Context(t), nc, store, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// put sends one message with chunks, as it is, and returns the answer.
func (f *fixture) put(session string, chunks ...schemas.Chunk) schemas.PutReply {
	f.t.Helper()
	b := schemas.NewPut(nil, session, storagetest.Vault)
	for i := range chunks {
		b.Add(&chunks[i])
	}
	return f.putRaw(b.Put())
}

func (f *fixture) putRaw(b []byte) (rep schemas.PutReply) {
	f.t.Helper()
	answer, err := bus.RequestRaw(bustest.Context(f.t), f.nc, schemas.PutSubject([]schemas.NodeID{f.id}), b)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := schemas.Unmarshal(answer, &rep); err != nil {
		f.t.Fatal(err)
	}
	return rep
}

// reader returns a reader that asks this node alone.
func (f *fixture) reader() *replica.Reader {
	return replica.NewReader(f.nc, &schemas.NodeMap{Nodes: []schemas.Node{{ID: f.id, Weight: 1, State: schemas.Up}}})
}

// gets fails the test unless the node returns the chunks unchanged.
func (f *fixture) gets(chunks ...schemas.Chunk) {
	f.t.Helper()
	ids := make([]schemas.ChunkID, len(chunks))
	for i := range chunks {
		ids[i] = chunks[i].ID
	}
	received := 0
	err := f.reader().Fetch(bustest.Context(f.t), storagetest.Vault, ids, false, func(i int, c *schemas.Chunk) error {
		storagetest.Same(f.t, chunks[i], *c)
		received++ // from one goroutine, as there is one node
		return nil
	})
	if err != nil || received != len(chunks) {
		f.t.Errorf("%d of %d chunks were returned: %v", received, len(chunks), err)
	}
}

// ask sends a get, edges or have request and returns the bytes of the answer.
func (f *fixture) ask(subject string, ids []schemas.ChunkID) []byte {
	f.t.Helper()
	req := &schemas.IDsRequest{Vault: storagetest.Vault, IDs: ids}
	answer, err := bus.RequestRaw(bustest.Context(f.t), f.nc, subject, req.Encode())
	if err != nil {
		f.t.Fatal(err)
	}
	return answer
}
