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

// Tests can slow the disk of a node. If the environment variable diskControl names a file, the
// program's vfs.Default behaves like a disk with the speed in that file, in bytes per second.
const diskControl = "SERVIDOR_TEST_DISK"

// fullSpeed is the unmodified disk; a disk with speed 0 stops.
const fullSpeed = -1

// setSpeed sets the speed of the disk of a node, in bytes per second.
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
		next := m.control + ".new" // renamed, so that readers never see a part
		err = errors.Join(os.WriteFile(next, strconv.AppendInt(nil, speed, 10), 0o600), os.Rename(next, m.control))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// slowDisk slows vfs.Default if the variable is set; the program calls it first.
func slowDisk() {
	if control := os.Getenv(diskControl); control != "" {
		vfs.Default = &slowFS{FS: vfs.Default, control: control}
	}
}

type slowFS struct {
	vfs.FS
	control string
	turn    sync.Mutex // a disk does one operation at a time
}

// syncCost is the cost of a sync, in bytes.
const syncCost = 16 << 10

// use waits for as long as the disk takes for these bytes.
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

// A stopped disk takes nothing, and goes on when its speed is raised.
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
		t.Errorf("bytes for a fifth of a second took %v", took)
	}
	m.setSpeed(t, 0)
	done := write()
	select {
	case <-done:
		t.Error("a stopped disk took something")
	case <-time.After(100 * time.Millisecond):
	}
	m.setSpeed(t, fullSpeed)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
