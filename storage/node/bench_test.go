package node_test

import (
	"fmt"
	"testing"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// The client of these benchmarks is a process of its own. So they measure the server's side
// alone: broker, connection and node, which share a process under "backup up".

// shapes are messages as clients send them, with pieces of large files or with small files.
var shapes = []struct {
	name       string
	each, size int // chunks of a message, bytes of a chunk
}{
	{"2x450KB", 2, 450_000},
	{"220x4KiB", 220, 4096},
}

// BenchmarkPut measures puts to a node whose connection is inside the process, or a socket.
func BenchmarkPut(b *testing.B) {
	for _, how := range []string{"in-process", "tcp"} {
		for _, shape := range shapes {
			b.Run(how+"/"+shape.name, func(b *testing.B) {
				benchNode(b, how, task{Op: "put", Each: shape.each, Size: shape.size, N: b.N})
			})
		}
	}
}

// BenchmarkSessions measures puts of large chunks by one session and by many, each with a
// connection of its own.
func BenchmarkSessions(b *testing.B) {
	for _, n := range []int{1, 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			benchNode(b, "in-process", task{Op: "put", Each: 2, Size: 450_000, N: b.N, Sessions: n})
		})
	}
}

// BenchmarkGet measures requests for chunks that fill a message, four at a time.
func BenchmarkGet(b *testing.B) {
	for _, how := range []string{"in-process", "tcp"} {
		for _, shape := range shapes {
			b.Run(how+"/"+shape.name, func(b *testing.B) {
				benchNode(b, how, task{Op: "get", Each: shape.each, Size: shape.size, N: b.N})
			})
		}
	}
}

// BenchmarkHave measures requests with 4096 ids, four at a time; half of the chunks are held.
func BenchmarkHave(b *testing.B) {
	benchNode(b, "in-process", task{Op: "have", Each: 220, Size: 4096, N: b.N})
}

// task tells the client what to do: N messages of Each chunks.
type task struct {
	URL        string
	Node       schemas.NodeID
	Op         string
	Each, Size int
	N          int
	Sessions   int // of puts; 0 is 1
}

// stored is the number of messages whose chunks are in the store before gets and haves.
const stored = 128

func (t *task) work(seed byte) *storagetest.Work {
	return storagetest.NewWork(seed, min(max(t.N, stored), 1024), t.Each, t.Size)
}

func benchNode(b *testing.B, how string, t task) {
	s, err := embedded.Start(embedded.Options{Dir: b.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Shutdown()
	newRegistrar(b, bustest.Connect(b, s), nil)
	opt := bus.ConnOptions{URL: s.URL()}
	if how == "in-process" {
		opt.InProcess = s
	}
	nc, err := bus.Connect(b.Context(), opt)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	store, err := storage.Open(b.TempDir(), storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	n, err := node.Start(b.Context(), nc, store, node.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Stop()
	t.URL, t.Node = s.URL(), store.NodeID()
	if t.Op != "put" {
		w := t.work(1)
		for i := range stored {
			vault, chunks := w.Message(i)
			if err := store.Put(b.Context(), vault, chunks); err != nil {
				b.Fatal(err)
			}
		}
	}
	client := startClient(b, t)
	meter := storagetest.StartMeter(b)
	client.run(b)
	if t.Op == "have" {
		meter.Stop(replica.MaxIDs, int64(replica.MaxIDs*len(schemas.ChunkID{})))
	} else {
		meter.Stop(t.Each, int64(t.Each*t.Size))
	}
	client.end(b)
}
