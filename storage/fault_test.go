package storage_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// faulty is a disk in memory that fails operations of one kind on segments
// while it is on.
func faulty(mem vfs.FS, kind errorfs.OpKind, err error) (vfs.FS, *errorfs.Toggle) {
	toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == kind && strings.Contains(op.Path, "segments") {
			return err
		}
		return nil
	})}
	return errorfs.Wrap(mem, toggle), toggle
}

// After a failed write or sync no put is taken, not even when the disk works
// again, until the store is opened anew. Reads go on.
func TestDiskFails(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{
		"write": errorfs.OpFileWriteAt, "sync": errorfs.OpFileSyncData,
		"make": errorfs.OpOpen, "sync a new file": errorfs.OpFileSync, "sync the directory": errorfs.OpOpenDir,
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			fs, fault := faulty(mem, kind, errorfs.ErrInjected)
			m := storagetest.NewMaker(1)
			held, lost := m.Data(3000), m.Data(3000)
			s := storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 4096})
			storagetest.Put(t, s, held)
			storagetest.Holds(t, s, held)
			fault.On()
			err := s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{lost})
			storagetest.Code(t, err, schemas.DiskFailed)
			if !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("the error does not bring its cause: %v", err)
			}
			fault.Off()
			storagetest.Code(t, s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{lost}), schemas.DiskFailed)
			if s.Stats().Failed == nil {
				t.Error("the stats do not tell")
			}
			storagetest.Holds(t, s, held)
			storagetest.CloseClean(t, s)

			s = storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 4096})
			storagetest.Put(t, s, lost)
			storagetest.Holds(t, s, held, lost)
		})
	}
}

// A full disk refuses the put, leaves nothing of it behind, and takes the next
// one when there is room.
func TestDiskFull(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{
		"write": errorfs.OpFileWriteAt, "sync": errorfs.OpFileSyncData, "make": errorfs.OpFileSync,
	} {
		t.Run(name, func(t *testing.T) {
			fs, fault := faulty(vfs.NewMem(), kind, errNoSpace)
			m := storagetest.NewMaker(1)
			held, big, small := m.Data(2000), m.Data(3000), m.Data(50)
			opt := storage.Options{FS: fs, SegmentSize: 4096}
			s := storagetest.Open(t, dir, opt)
			storagetest.Put(t, s, held)
			fault.On()
			for range 2 {
				storagetest.Code(t, s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{big}), schemas.DiskFull)
			}
			if st := s.Stats(); !st.Full || st.Failed != nil {
				t.Errorf("the stats are %+v", st)
			}
			storagetest.Holds(t, s, held)
			fault.Off()
			storagetest.Put(t, s, small) // less than what the big one left
			if s.Stats().Full {
				t.Error("the stats still say full")
			}
			storagetest.Holds(t, s, held, small)
			_, err := s.Get(storagetest.Vault, big.ID)
			storagetest.Code(t, err, schemas.NotHeld)
			storagetest.CloseClean(t, s)

			opt.RebuildIndex = true
			s = storagetest.Open(t, dir, opt)
			storagetest.Holds(t, s, held, small)
			storagetest.Put(t, s, big)
			storagetest.Holds(t, s, held, small, big)
		})
	}
}

// Puts stop before the index has no room.
func TestReserve(t *testing.T) {
	fs := vfs.NewMem()
	m := storagetest.NewMaker(1)
	a, b := m.Data(1000), m.Data(1000)
	s := storagetest.Open(t, dir, storage.Options{FS: fs, ReserveBytes: 5000})
	storagetest.Put(t, s, a)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 5500, TotalBytes: 10_000})
	storagetest.Code(t, s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{b}), schemas.DiskFull)
	storagetest.Put(t, s, a) // held: takes no room
	storagetest.Holds(t, s, a)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 9000, TotalBytes: 10_000})
	storagetest.Put(t, s, b)
	if st := s.Stats(); st.Full || st.DiskFree != 9000 || st.DiskTotal != 10_000 {
		t.Errorf("the stats are %+v", st)
	}
}

// What is on a full disk is opened when there is room for the index, and says so until then.
func TestOpenOnAFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	c := storagetest.NewMaker(1).Data(1000)
	opt := storage.Options{FS: fs, ReserveBytes: 4000}
	s := storagetest.Open(t, dir, opt)
	storagetest.Put(t, s, c)
	storagetest.CloseClean(t, s)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 999, TotalBytes: 10_000})
	_, err := storage.Open(dir, opt)
	storagetest.Code(t, err, schemas.DiskFull)
	if err != nil && !strings.Contains(err.Error(), "make room, and start it again") {
		t.Errorf("open says %v", err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1000, TotalBytes: 10_000})
	s = storagetest.Open(t, dir, opt)
	storagetest.Holds(t, s, c)
	storagetest.Code(t, s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{storagetest.NewMaker(2).Data(10)}), schemas.DiskFull)
}

// A store whose index cannot be written any more is closed all the same, and loses nothing.
func TestIndexCannotBeWritten(t *testing.T) {
	for name, cause := range map[string]error{"full": errNoSpace, "failed": errorfs.ErrInjected} {
		t.Run(name, func(t *testing.T) {
			fault := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
				if strings.Contains(op.Path, "index") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
					return cause
				}
				return nil
			})}
			fs := errorfs.Wrap(vfs.NewMem(), fault)
			m := storagetest.NewMaker(1)
			before, after := m.Data(1000), m.Data(1000)
			s := storagetest.Open(t, dir, storage.Options{FS: fs})
			storagetest.Put(t, s, before)
			fault.On()
			storagetest.Put(t, s, after) // the index writes later
			if err := s.Close(); !errors.Is(err, cause) {
				t.Errorf("close says %v", err)
			}
			fault.Off()
			s = storagetest.Open(t, dir, storage.Options{FS: fs})
			storagetest.Holds(t, s, before, after)
			storagetest.Put(t, s, m.Data(10))
		})
	}
}

// A disk that does not read is no proof that the chunk is damaged.
func TestDiskDoesNotRead(t *testing.T) {
	fs, fault := faulty(vfs.NewMem(), errorfs.OpFileReadAt, errorfs.ErrInjected)
	c := storagetest.NewMaker(1).Data(100)
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	storagetest.Put(t, s, c)
	fault.On()
	_, err := s.Get(storagetest.Vault, c.ID)
	storagetest.Code(t, err, schemas.DiskFailed)
	fault.Off()
	storagetest.Holds(t, s, c)
	storagetest.CloseClean(t, s)
	// Nor may recovery take it for an end that was never written.
	fault.On()
	if _, err := storage.Open(dir, storage.Options{FS: fs, RebuildIndex: true}); !errors.Is(err, errorfs.ErrInjected) {
		t.Errorf("open says %v", err)
	}
}

func TestInUse(t *testing.T) {
	mem := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: mem})
	if _, err := storage.Open(dir, storage.Options{FS: mem}); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("opening twice says %v", err)
	}
	storagetest.CloseClean(t, s)
	storagetest.Open(t, dir, storage.Options{FS: mem})
}

const holdVariable = "STORAGE_TEST_HOLD"

// TestInUseByAnotherProcess runs itself as the other process.
func TestInUseByAnotherProcess(t *testing.T) {
	if place := os.Getenv(holdVariable); place != "" {
		storagetest.Open(t, place, storage.Options{})
		os.Stdout.WriteString("open\n")
		bufio.NewReader(os.Stdin).ReadByte() // until the parent closes it
		return
	}
	place := t.TempDir()
	other := exec.Command(os.Args[0], "-test.run=^TestInUseByAnotherProcess$")
	other.Env = append(os.Environ(), holdVariable+"="+place)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "open\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	_, err = storage.Open(place, storage.Options{})
	if !errors.Is(err, storage.ErrInUse) || !strings.Contains(err.Error(), "is in use by another process") {
		t.Errorf("open says %v", err)
	}
	if err := errors.Join(in.Close(), other.Wait()); err != nil {
		t.Errorf("the other process: %v", err)
	}
	storagetest.Open(t, place, storage.Options{})
}

// Many put, ask and get at once, with overlapping chunks, while a check runs.
func TestConcurrent(t *testing.T) {
	s := storagetest.Open(t, t.TempDir(), storage.Options{SegmentSize: 64 << 10})
	m := storagetest.NewMaker(1)
	var chunks []schemas.Chunk
	for i := range 120 {
		chunks = append(chunks, m.Data(i*50), m.Tree(i%3, i%5, i))
	}
	var all sync.WaitGroup
	for g := range 6 {
		all.Go(func() {
			for i := range 40 {
				at := (g*35 + i*6) % (len(chunks) - 7)
				part := chunks[at : at+8]
				if err := s.Put(t.Context(), storagetest.Vault, part); err != nil {
					t.Error(err)
					return
				}
				storagetest.Holds(t, s, part...)
			}
		})
	}
	all.Go(func() {
		for range 5 {
			storagetest.Clean(t, s)
			s.Stats()
		}
	})
	all.Wait()
	storagetest.Put(t, s, chunks...)
	if n := s.Stats().Chunks; n != int64(len(chunks)) {
		t.Errorf("%d chunks, want %d", n, len(chunks))
	}
}

// A store that was full is not any more when there is room for some batches beyond the
// reserve: nobody puts into one that is full, so no put would find out.
func TestFullUntilThereIsRoom(t *testing.T) {
	const reserve, room = 5000, 16 << 20
	fs := vfs.NewMem()
	m := storagetest.NewMaker(1)
	s := storagetest.Open(t, dir, storage.Options{FS: fs, ReserveBytes: reserve})
	storagetest.Put(t, s, m.Data(10))
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: reserve, TotalBytes: 100 << 20})
	if s.Stats().Full {
		t.Error("it is full before a put was refused")
	}
	storagetest.Code(t, s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{m.Data(1000)}), schemas.DiskFull)
	for _, c := range []struct {
		free uint64
		full bool
	}{{reserve, true}, {reserve + room - 1, true}, {reserve + room, false}, {reserve, false}} {
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: c.free, TotalBytes: 100 << 20})
		for range 2 {
			if got := s.Stats().Full; got != c.full {
				t.Errorf("with %d bytes free it is full: %v", c.free, got)
			}
		}
	}
}
