package coordinator

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
	"servidor-backup/storage"
)

// vaultSize is the size of the vault that TestCollectionMemory collects.
func vaultSize() (chunks, versions int) {
	if os.Getenv("BACKUP_LONG") != "" {
		return 1_000_000, 30
	}
	return 6_000, 5
}

const (
	piecesOfLeaf = 200 // data chunks of each leaf
	leavesOfNode = 50
	// moreMemory is what a collection may take, in bytes, in the whole process: of
	// coordinator, nodes and bus together.
	moreMemory = 100 << 20
)

// The memory of a collection does not grow with the number of chunks, and a collection removes
// exactly the chunks that no version needs.
func TestCollectionMemory(t *testing.T) {
	chunks, versions := vaultSize()
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node(), w.node(), w.node()}
	v := &bigVault{world: w, nodes: nodes}
	// Half of it is in the first version, and each later one replaces a part of that.
	first := chunks / 2 / (piecesOfLeaf + 1)
	v.save(0, first)
	each := (chunks - chunks/2) / (versions - 1) / (piecesOfLeaf + 1)
	for n := range versions - 1 {
		v.save(n*each%first, each)
	}
	needed := v.held()
	t.Logf("%d parts of chunks, reached from %d versions", needed, len(w.versions(nickname, "r")))
	garbage := v.leaves(chunks / 20 / (piecesOfLeaf + 1))
	v.flush()
	if v.held() <= needed || len(garbage) == 0 {
		t.Fatal("there is no garbage")
	}
	w.endSessions()

	m := measureMemory()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	var c schemas.Collection
	for req := (&schemas.CollectRequest{Start: true}); c.Ended == 0; req.Start = false {
		var rep schemas.CollectReply
		if err := w.request(schemas.SubjectCollect, req, &rep); err != nil {
			t.Fatal(err)
		}
		c = rep.Collection
		<-poll.C
	}
	heap, resident := m.stop()
	t.Logf("%d marked, %d swept in %v; %.1f MiB more of the heap, %.1f MiB more resident", c.Marked, c.Chunks, time.Duration(c.Ended-c.Started), mib(heap), mib(resident))
	if c.Error != "" || c.Skipped != "" {
		t.Fatalf("the collection: %+v", c)
	}
	if held := v.held(); held != needed {
		t.Errorf("%d parts of chunks are held, %d are needed", held, needed)
	}
	if heap > moreMemory {
		t.Errorf("the collection took %.1f MiB more of the heap", mib(heap))
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// bigVault puts chunks directly into the stores they are assigned to: a message for each chunk
// would take too long.
type bigVault struct {
	*world
	nodes   []*runningNode
	tree    []schemas.ChunkID // the leaves of the newest version
	waiting map[schemas.NodeID][]schemas.Chunk
	place   *placement.Placement
}

// save makes a version that differs from the one before in that many leaves, beginning at from.
func (v *bigVault) save(from, leaves int) {
	v.t.Helper()
	s := v.open(opening("r"))
	for i, leaf := range v.leaves(leaves) {
		if at := from + i; at < len(v.tree) {
			v.tree[at] = leaf
		} else {
			v.tree = append(v.tree, leaf)
		}
	}
	root := v.Tree(0, 0, 10)
	for batch := range slices.Chunk(v.tree, leavesOfNode) {
		root.Trees = append(root.Trees, v.inner(batch))
	}
	root.Sum = root.Checksum()
	v.add(root)
	v.flush()
	if _, err := v.commit(s.Session, root.ID); err != nil {
		v.t.Fatal(err)
	}
}

// inner makes an inner node above leaves. Equal inner nodes of two versions are one chunk.
func (v *bigVault) inner(leaves []schemas.ChunkID) schemas.ChunkID {
	c := schemas.Chunk{Kind: schemas.Tree, Trees: slices.Clone(leaves), Content: []byte("node")}
	c.Sum = c.Checksum()
	c.ID = schemas.ChunkID(c.Sum)
	c.Sum = c.Checksum()
	v.add(c)
	return c.ID
}

// leaves makes leaves together with their data.
func (v *bigVault) leaves(n int) (ids []schemas.ChunkID) {
	for range n {
		leaf, pieces := v.leaf(piecesOfLeaf)
		for _, p := range pieces {
			v.add(p)
		}
		v.add(leaf)
		ids = append(ids, leaf.ID)
	}
	return ids
}

func (v *bigVault) add(c schemas.Chunk) {
	if v.place == nil {
		v.place, v.waiting = placement.New(v.c.members.Map()), map[schemas.NodeID][]schemas.Chunk{}
	}
	for _, id := range v.place.Place(nil, c.ID, 2) {
		if v.waiting[id] = append(v.waiting[id], c); len(v.waiting[id]) >= 8000 {
			v.flush()
		}
	}
}

func (v *bigVault) flush() {
	for _, n := range v.nodes {
		id := n.store.NodeID()
		if err := n.store.Put(bustest.Context(v.t), schemas.SealedVault(nickname), v.waiting[id]); err != nil {
			v.t.Fatal(err)
		}
		delete(v.waiting, id)
	}
}

// held counts the parts of the vault's chunks on all nodes. It does not pin them.
func (v *bigVault) held() (n int64) {
	vault := schemas.SealedVault(nickname)
	for _, node := range v.nodes {
		err := node.store.Each(bustest.Context(v.t), storage.Cursor{Vault: vault}, func(h storage.Held) bool {
			if h.Vault == vault {
				n++
			}
			return h.Vault == vault
		})
		if err != nil {
			v.t.Fatal(err)
		}
	}
	return n
}

// memory measures the memory of the process until stop.
type memory struct {
	heap, resident int64 // when it began
	most           chan int64
	end            chan struct{}
}

func measureMemory() *memory {
	runtime.GC()
	debug.FreeOSMemory()
	m := &memory{heap: heapInUse(), resident: peakResident(true), most: make(chan int64), end: make(chan struct{})}
	go func() {
		most := m.heap
		for {
			select {
			case <-m.end:
				m.most <- most
				return
			case <-time.After(10 * time.Millisecond):
				most = max(most, heapInUse())
			}
		}
	}()
	return m
}

// stop returns the peaks, less what was in use at the beginning, in bytes.
func (m *memory) stop() (heap, resident int64) {
	close(m.end)
	heap = <-m.most - m.heap
	return heap, peakResident(false) - m.resident
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// peakResident is the peak of the process's resident memory in bytes, since it was called with
// reset; 0 on systems that do not tell.
func peakResident(reset bool) int64 {
	if reset {
		_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	}
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, is := strings.CutPrefix(line, "VmHWM:"); is {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}
