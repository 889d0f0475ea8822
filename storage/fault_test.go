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

// faulty returns a disk that fails operations of one kind on segments while the toggle
// is on.
func faulty(mem vfs.FS, kind errorfs.OpKind, err error) (vfs.FS, *errorfs.Toggle) {
	toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == kind && strings.Contains(op.Path, "segments") {
			return err
		}
		return nil
	})}
	return errorfs.Wrap(mem, toggle), toggle
}

// After a failed write or sync the store takes no put until it is opened again, even
// when the disk works again. Reads go on.
func TestDiskFails(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{
		"write": errorfs.OpFileWriteAt, "sync": errorfs.OpFileSyncData,
		"make": errorfs.OpOpen, "sync a new file": errorfs.OpFileSync, "sync the directory": errorfs.OpOpenDir,
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			fs, fault := faulty(mem, kind, errorfs.ErrInjected)
			m := storagetest.NewMaker(1)
			held, refused := m.Data(3000), m.Data(3000)
			s := storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 4096})
			storagetest.Put(t, s, held)
			storagetest.Holds(t, s, held)
			fault.On()
			err := s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{refused})
			storagetest.Code(t, err, schemas.DiskFailed)
			if !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("the error does not wrap its cause: %v", err)
			}
			fault.Off()
			storagetest.Code(t, s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{refused}), schemas.DiskFailed)
			if s.Stats().Failed == nil {
				t.Error("the stats do not say that the store failed")
			}
			storagetest.Holds(t, s, held)
			storagetest.CloseClean(t, s)

			s = storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 4096})
			storagetest.Put(t, s, refused)
			storagetest.Holds(t, s, held, refused)
		})
	}
}

// A full disk refuses a put, of which nothing is held, and takes the next put when there
// is space.
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
			storagetest.Put(t, s, small) // shorter than the leftovers of the big one
			if s.Stats().Full {
				t.Error("the stats still say that the disk is full")
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

// Puts are refused before they use the space that is reserved for the index.
func TestReserve(t *testing.T) {
	fs := vfs.NewMem()
	m := storagetest.NewMaker(1)
	a, b := m.Data(1000), m.Data(1000)
	s := storagetest.Open(t, dir, storage.Options{FS: fs, ReserveBytes: 5000})
	storagetest.Put(t, s, a)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 5500, TotalBytes: 10_000})
	storagetest.Code(t, s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{b}), schemas.DiskFull)
	storagetest.Put(t, s, a) // it is held, and takes no space
	storagetest.Holds(t, s, a)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 9000, TotalBytes: 10_000})
	storagetest.Put(t, s, b)
	if st := s.Stats(); st.Full || st.DiskFree != 9000 || st.DiskTotal != 10_000 {
		t.Errorf("the stats are %+v", st)
	}
}

// A store on a full disk opens only when there is space for the index; its error says so.
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

// A store whose index can no longer be written closes all the same, and loses no chunk.
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

// A part that the disk does not read is not held, until the disk reads it again. A segment
// that the disk does not read when the store is opened is not taken for one that was never
// written.
func TestDiskDoesNotRead(t *testing.T) {
	fs, fault := faulty(vfs.NewMem(), errorfs.OpFileReadAt, errorfs.ErrInjected)
	m := storagetest.NewMaker(1)
	c, later := m.Data(100), m.Data(100)
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	storagetest.Put(t, s, c)
	fault.On()
	for range 2 {
		_, err := s.Get(storagetest.Vault, c.ID)
		storagetest.Code(t, err, schemas.Corrupt)
		if !errors.Is(err, errorfs.ErrInjected) {
			t.Errorf("the error does not wrap its cause: %v", err)
		}
	}
	fault.Off()
	storagetest.Holds(t, s, c)
	storagetest.CloseClean(t, s)

	fault.On()
	s, err := storage.Open(dir, storage.Options{FS: fs, RebuildIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	if lost := s.Lost(); len(lost) != 1 {
		t.Errorf("the store has lost %v", lost)
	}
	storagetest.Put(t, s, later)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	fault.Off()
	s = storagetest.Open(t, dir, storage.Options{FS: fs})
	storagetest.Holds(t, s, c, later)
	if lost := s.Lost(); len(lost) != 0 {
		t.Errorf("the store has lost %v", lost)
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
	if path := os.Getenv(holdVariable); path != "" {
		storagetest.Open(t, path, storage.Options{})
		os.Stdout.WriteString("open\n")
		bufio.NewReader(os.Stdin).ReadByte() // until the parent closes it
		return
	}
	path := t.TempDir()
	other := exec.Command(os.Args[0], "-test.run=^TestInUseByAnotherProcess$")
	other.Env = append(os.Environ(), holdVariable+"="+path)
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
	_, err = storage.Open(path, storage.Options{})
	if !errors.Is(err, storage.ErrInUse) || !strings.Contains(err.Error(), "is in use by another process") {
		t.Errorf("open says %v", err)
	}
	if err := errors.Join(in.Close(), other.Wait()); err != nil {
		t.Errorf("the other process: %v", err)
	}
	storagetest.Open(t, path, storage.Options{})
}

// Several goroutines put, ask for and get overlapping chunks while a check runs.
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

// A full store stops being full when there is space for some batches beyond the reserve.
// No put would find that out, because nobody sends puts to a full store.
func TestFullUntilThereIsSpace(t *testing.T) {
	const reserve, margin = 5000, 16 << 20
	fs := vfs.NewMem()
	m := storagetest.NewMaker(1)
	s := storagetest.Open(t, dir, storage.Options{FS: fs, ReserveBytes: reserve})
	storagetest.Put(t, s, m.Data(10))
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: reserve, TotalBytes: 100 << 20})
	if s.Stats().Full {
		t.Error("the store is full before it has refused a put")
	}
	storagetest.Code(t, s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{m.Data(1000)}), schemas.DiskFull)
	for _, c := range []struct {
		free uint64
		full bool
	}{{reserve, true}, {reserve + margin - 1, true}, {reserve + margin, false}, {reserve, false}} {
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: c.free, TotalBytes: 100 << 20})
		for range 2 {
			if got := s.Stats().Full; got != c.full {
				t.Errorf("with %d bytes free the store is full: %v", c.free, got)
			}
		}
	}
}
