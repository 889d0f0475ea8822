package coordinator

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/coordinator/members"
	"servidor-backup/schemas"
	"servidor-backup/storage/storagetest"
)

// supervised runs one more coordinator, which starts over if its buckets are lost, as long as
// the test.
func (w *world) supervised() {
	w.t.Helper()
	running, err := Run(bustest.Context(w.t), bustest.Connect(w.t, w.server), Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := running.Stop(); err != nil {
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

// hasBackups waits until the node has that many chunks of the catalogue's backup.
func (n *runningNode) hasBackups(w *world, want int) {
	w.t.Helper()
	bustest.Eventually(w.t, "the values are backed up", func() bool {
		var rep schemas.ChunkIDsReply
		err := w.request(schemas.ChunksSubject(n.store.NodeID()), &schemas.ChunksRequest{Vault: schemas.CatalogueVault()}, &rep)
		return err == nil && len(rep.IDs) == want*len(schemas.ChunkID{})
	})
}

// follows waits until the node has a map with itself and with an epoch above the given one.
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

// eventually sends a request again as long as no coordinator can answer it.
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

// If NATS loses all data while two coordinators and a node run, these go on without help. They say
// that the catalogue is lost until it is rebuilt.
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
			for name := range js.StreamNames(bustest.Context(t)).Name() {
				if err := js.DeleteStream(bustest.Context(t), name); err != nil {
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
			w.supervised()
			w.supervised()
			node := w.node()
			content := []byte("old")
			bustest.Eventually(t, "a coordinator that knows the node saves", func() bool {
				return w.request(schemas.SubjectTransmit, &schemas.TransmitRequest{Nickname: nickname, Record: "f", Content: &content}, &schemas.TransmitReply{}) == nil
			})
			node.hasBackups(w, 3) // and the id
			before := node.follows(w, 0)

			lose(w)
			epoch := node.follows(w, before)
			wantCode(t, w.eventually(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname}, &schemas.ListReply{}), schemas.CatalogueLost)
			var rep schemas.RebuildReply
			if err := w.eventually(schemas.SubjectRebuild, &schemas.RebuildRequest{}, &rep); err != nil || rep.Keys != 3 {
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

// maxGap is more revisions than a coordinator may miss without taking the bucket for another.
const maxGap = 10_000

// A coordinator that has not noticed that its bucket is lost does not take the cards of the new
// bucket for changes of its map. Chunks that were held under the old map are not trusted.
func TestMapsOfTwoBucketsAreNotMixed(t *testing.T) {
	w := newWorld(t, 1, Options{})
	before := w.c.members.Map()
	js, err := jetstream.New(w.nc)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the bucket has existed for a moment", func() bool {
		return uint64(time.Now().UnixMicro()) > before.Epoch+2*maxGap
	})
	if err := js.DeleteStream(bustest.Context(t), "KV_backup-nodes"); err != nil {
		t.Fatal(err)
	}
	next := w.coordinator(Options{})
	bustest.Eventually(t, "the node is known to the next", func() bool { return len(next.members.Map().Nodes) == 1 })
	bustest.Receive(t, "the loss of the bucket", w.c.members.Lost())
	if now := w.c.members.Map(); now.Epoch != before.Epoch {
		t.Errorf("the map of epoch %d went on as that of epoch %d", before.Epoch, now.Epoch)
	}
	if next.members.Holds(members.Basis{Epoch: before.Epoch, Tolerates: 9}) {
		t.Error("the losses since an epoch of the lost bucket are taken to be known")
	}
	if now := next.members.Map(); !next.members.Holds(members.Basis{Epoch: now.Epoch}) {
		t.Error("chunks that were held just now do not count as held")
	}
}
