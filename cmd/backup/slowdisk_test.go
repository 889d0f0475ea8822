//go:build unix

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A node's disk can be as slow as a test wants. The program stands on vfs.Default as
// ever; when diskControl names a file, what stands there takes the time that a disk of
// so many bytes per second takes.
const diskControl = "SERVIDOR_TEST_DISK"

// fullSpeed is the disk as it is; a disk of speed 0 stands still.
const fullSpeed = -1

// setSpeed sets how fast the disk of a node is, in bytes per second.
func (m *member) setSpeed(t testing.TB, speed int64) {
	t.Helper()
	if m.control == "" {
		return
	}
	m.slow = speed != fullSpeed
	err := os.Remove(m.control)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if m.slow {
		whole := m.control + ".new" // whoever reads it sees all of it
		err = errors.Join(os.WriteFile(whole, strconv.AppendInt(nil, speed, 10), 0o600), os.Rename(whole, m.control))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// slowDisk is called by the program before all else.
func slowDisk() {
	if control := os.Getenv(diskControl); control != "" {
		vfs.Default = &slowFS{FS: vfs.Default, control: control}
	}
}

type slowFS struct {
	vfs.FS
	control string
	turn    sync.Mutex // a disk does one thing after the other
}

// syncCost is what a sync takes, as so many bytes.
const syncCost = 16 << 10

// use takes the time that so many bytes take.
func (f *slowFS) use(bytes int) {
	f.turn.Lock()
	defer f.turn.Unlock()
	const tick = 10 * time.Millisecond
	for left := float64(bytes); left > 0; {
		b, err := os.ReadFile(f.control)
		if err != nil {
			return // no such file
		}
		speed, err := strconv.ParseFloat(string(b), 64)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", f.control, err))
		}
		if took := time.Duration(left / speed * float64(time.Second)); speed > 0 && took < tick {
			time.Sleep(took)
			return
		}
		time.Sleep(tick)
		left -= speed * tick.Seconds()
	}
}

func (f *slowFS) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &slowFile{file, f}, nil
}

func (f *slowFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.Create(name, c))
}

func (f *slowFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(f.FS.Open(name, opts...))
}

func (f *slowFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(f.FS.OpenReadWrite(name, c, opts...))
}

func (f *slowFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.ReuseForWrite(from, to, c))
}

type slowFile struct {
	vfs.File
	disk *slowFS
}

func (f *slowFile) Read(b []byte) (int, error) {
	f.disk.use(len(b))
	return f.File.Read(b)
}

func (f *slowFile) ReadAt(b []byte, at int64) (int, error) {
	f.disk.use(len(b))
	return f.File.ReadAt(b, at)
}

func (f *slowFile) Write(b []byte) (int, error) {
	f.disk.use(len(b))
	return f.File.Write(b)
}

func (f *slowFile) WriteAt(b []byte, at int64) (int, error) {
	f.disk.use(len(b))
	return f.File.WriteAt(b, at)
}

func (f *slowFile) Sync() error {
	f.disk.use(syncCost)
	return f.File.Sync()
}

func (f *slowFile) SyncData() error {
	f.disk.use(syncCost)
	return f.File.SyncData()
}

func (f *slowFile) SyncTo(length int64) (bool, error) {
	f.disk.use(syncCost)
	return f.File.SyncTo(length)
}

// TestSlowDisk: a disk that stands still takes nothing, and goes on when it may.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := &member{control: filepath.Join(dir, "speed")}
	disk := &slowFS{FS: vfs.Default, control: m.control}
	f, err := disk.Create(filepath.Join(dir, "file"), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func() <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := f.Write(make([]byte, 20_000))
			done <- err
		}()
		return done
	}
	if err := <-write(); err != nil {
		t.Fatal(err)
	}
	m.setSpeed(t, 100_000)
	start := time.Now()
	if err := <-write(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 150*time.Millisecond {
		t.Errorf("a fifth of a second's bytes took %v", took)
	}
	m.setSpeed(t, 0)
	done := write()
	select {
	case <-done:
		t.Error("a disk that stands still took something")
	case <-time.After(100 * time.Millisecond):
	}
	m.setSpeed(t, fullSpeed)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
