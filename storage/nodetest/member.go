package nodetest

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// Dir is the directory of a node's store in its file system.
const Dir = "node"

// Member is a node of a [System], also while it does not run.
type Member struct {
	ID    schemas.NodeID
	FS    *vfs.MemFS
	Store *storage.Store

	s    *System
	node *node.Node
	nc   *nats.Conn
}

// Start opens the store and starts the node, again or for the first time.
func (n *Member) Start() {
	t := n.s.t
	t.Helper()
	var err error
	if n.Store, err = storage.Open(Dir, storage.Options{FS: n.FS}); err != nil {
		t.Fatal(err)
	}
	n.ID = n.Store.NodeID()
	if n.nc, err = bus.Connect(t.Context(), bus.ConnOptions{URL: n.s.server.URL()}); err != nil {
		t.Fatal(err)
	}
	n.Serve()
}

// Serve starts the node on its open store.
func (n *Member) Serve() {
	n.s.t.Helper()
	var err error
	if n.node, err = node.Start(bustest.Context(n.s.t), n.nc, n.Store, n.s.Opt); err != nil {
		n.s.t.Fatal(err)
	}
}

// Pause stops the node and leaves its store open.
func (n *Member) Pause() {
	n.s.t.Helper()
	if err := n.node.Stop(); err != nil {
		n.s.t.Error(err)
	}
	n.node = nil
}

// Stop stops the node and closes its store. In the map it stays as it is.
func (n *Member) Stop() {
	t := n.s.t
	t.Helper()
	n.Pause()
	n.nc.Close()
	storagetest.CloseClean(t, n.Store)
}

// Down stops the node, which is expected to come back.
func (n *Member) Down() {
	n.Stop()
	n.s.SetState(n, schemas.Down)
	n.s.remove(n)
}

// Back starts a node that was down.
func (n *Member) Back() {
	n.Start()
	n.s.Nodes = append(n.s.Nodes, n)
}

// Lose stops the node for good.
func (n *Member) Lose() {
	n.Stop()
	n.s.SetState(n, schemas.Gone)
	n.s.remove(n)
}

// Crash ends the node as a power cut does, and starts it again.
func (n *Member) Crash() {
	left := n.FS.CrashClone(vfs.CrashCloneCfg{})
	n.Stop()
	n.FS = left
	n.Start()
}

// Request sends a request to the node.
func (n *Member) Request(subject func(schemas.NodeID) string, req any, rep bus.Reply) error {
	n.s.t.Helper()
	return bus.Request(bustest.Context(n.s.t), n.s.Conn, subject(n.ID), req, rep)
}

// Status asks the node for its status.
func (n *Member) Status() schemas.NodeStatus {
	n.s.t.Helper()
	var rep schemas.NodeStatusReply
	if err := n.Request(schemas.StatusSubject, &schemas.StatusRequest{}, &rep); err != nil {
		n.s.t.Fatal(err)
	}
	return rep.Status
}

// Parts returns the parts of a chunk that the node holds.
func (n *Member) Parts(id schemas.ChunkID) (parts []schemas.Part) {
	n.s.t.Helper()
	err := n.Store.Look(storagetest.Vault, []schemas.ChunkID{id}, func(_ int, p schemas.Part) error {
		parts = append(parts, p)
		return nil
	})
	if err != nil {
		n.s.t.Fatal(err)
	}
	return parts
}
