package coordinator

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/schemas"
	"servidor-backup/storage/storagetest"
)

// keep runs one more coordinator as long as the test.
func (w *world) keep() {
	w.t.Helper()
	stop, err := Keep(bustest.Patient(w.t), bustest.Connect(w.t, w.server), Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := stop(); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) startServer(listen string) {
	w.t.Helper()
	var err error
	if w.server, err = embedded.Start(embedded.Options{Dir: w.t.TempDir(), Listen: listen}); err != nil {
		w.t.Fatal(err)
	}
}

// hasCopies waits until the node has so many copies.
func (n *runningNode) hasCopies(w *world, want int) {
	w.t.Helper()
	bustest.Eventually(w.t, "there are copies", func() bool {
		var rep schemas.ChunkIDsReply
		err := w.request(schemas.ChunksSubject(n.store.NodeID()), &schemas.ChunksRequest{Vault: schemas.CatalogueVault()}, &rep)
		return err == nil && len(rep.IDs) == want*len(schemas.ChunkID{})
	})
}

// follows waits until the node is in a map that begins after another one's epoch.
func (n *runningNode) follows(w *world, after uint64) (epoch uint64) {
	w.t.Helper()
	bustest.Eventually(w.t, "the node follows the new map", func() bool {
		var nodes schemas.NodesReply
		var status schemas.NodeStatusReply
		if w.request(schemas.SubjectNodes, &schemas.NodesRequest{}, &nodes) != nil ||
			w.request(schemas.StatusSubject(n.store.NodeID()), &schemas.StatusRequest{}, &status) != nil {
			return false
		}
		epoch = nodes.Map.Epoch
		return epoch > after && epoch == status.Status.Epoch && len(nodes.Map.Nodes) == 1 && nodes.Map.Nodes[0].Writable()
	})
	return epoch
}

// eventually is a request that is asked again while nobody can answer it.
func (w *world) eventually(subject string, req any, rep bus.Reply) (err error) {
	w.t.Helper()
	bustest.Eventually(w.t, subject+" is answered", func() bool {
		err = w.request(subject, req, rep)
		return schemas.CodeOf(err) != schemas.Unavailable && !strings.Contains(errorText(err), bus.ErrNoResponders.Error())
	})
	return err
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// All that NATS had is lost under two coordinators and a node. They go on by
// themselves, with an empty catalogue, and it can be made anew.
func TestCatalogueIsLostUnderCoordinators(t *testing.T) {
	lose := map[string]func(*world){
		"the server comes back empty": func(w *world) {
			listen := strings.TrimPrefix(w.server.URL(), "nats://")
			if err := w.server.Shutdown(); err != nil {
				t.Fatal(err)
			}
			w.startServer(listen)
		},
		"its streams are deleted": func(w *world) {
			js, err := jetstream.New(w.nc)
			if err != nil {
				t.Fatal(err)
			}
			for name := range js.StreamNames(bustest.Patient(t)).Name() {
				if err := js.DeleteStream(bustest.Patient(t), name); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	for name, lose := range lose {
		t.Run(name, func(t *testing.T) {
			w := &world{Maker: storagetest.NewMaker(1), t: t}
			w.startServer(bustest.FreeAddress(t))
			t.Cleanup(func() {
				if err := w.server.Shutdown(); err != nil {
					t.Error(err)
				}
			})
			w.nc = bustest.Connect(t, w.server)
			w.keep()
			w.keep()
			node := w.node()
			content := []byte("old")
			bustest.Eventually(t, "a coordinator that knows the node saves", func() bool {
				return w.request(schemas.SubjectTransmit, &schemas.TransmitRequest{Nickname: nickname, Record: "f", Content: &content}, &schemas.TransmitReply{}) == nil
			})
			node.hasCopies(w, 2)
			before := node.follows(w, 0)

			lose(w)
			epoch := node.follows(w, before)
			wantCode(t, w.eventually(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname}, &schemas.ListReply{}), schemas.UnknownNickname)
			var rep schemas.RebuildReply
			if err := w.eventually(schemas.SubjectRebuild, &schemas.RebuildRequest{}, &rep); err != nil || rep.Keys != 2 {
				t.Fatalf("%d values were written, %v", rep.Keys, err)
			}
			if got, err := w.content("f@1"); err != nil || got != "old" {
				t.Errorf("f@1 is %q, %v", got, err)
			}
			if id := w.transmit(nickname, "f", "new"); id != "f@2" {
				t.Errorf("the next version is %s", id)
			}
			node.follows(w, epoch-1)
		})
	}
}

// A coordinator that has not noticed takes nothing of the new cards for changes of its
// map, and nothing for held that was so under the map before.
func TestMapsOfTwoBucketsAreNotMixed(t *testing.T) {
	w := newWorld(t, 1, Options{})
	before := w.c.members.nodeMap()
	js, err := jetstream.New(w.nc)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the bucket has lived for a moment", func() bool {
		return uint64(time.Now().UnixMicro()) > before.Epoch+2*mostMissed
	})
	if err := js.DeleteStream(bustest.Patient(t), "KV_backup-nodes"); err != nil {
		t.Fatal(err)
	}
	next := w.coordinator(Options{})
	bustest.Eventually(t, "the node is known to the next", func() bool { return len(next.members.nodeMap().Nodes) == 1 })
	bustest.Receive(t, "that it is lost", w.c.members.gone)
	if now := w.c.members.nodeMap(); now.Epoch != before.Epoch {
		t.Errorf("the map of epoch %d went on as that of epoch %d", before.Epoch, now.Epoch)
	}
	if next.members.holds(basis{Epoch: before.Epoch, Tolerates: 9}) {
		t.Error("who was lost since an epoch of the lost cards is known")
	}
	if now := next.members.nodeMap(); !next.members.holds(basis{Epoch: now.Epoch}) {
		t.Error("what was held just now is not")
	}
}
