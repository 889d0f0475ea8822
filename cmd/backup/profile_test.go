//go:build unix

package main

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// demandProfile demands that a file is a complete profile: gzip that is not empty.
func demandProfile(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	if n, err := io.Copy(io.Discard, z); err != nil || n == 0 {
		t.Errorf("%s: %d bytes, %v", path, n, err)
	}
}

func TestClientsAndRolesWriteProfiles(t *testing.T) {
	w := newWorld(t, time.Minute)
	dir := w.dir()
	at := func(name string) string { return filepath.Join(dir, name) }
	server, _ := w.up(w.dir(), "--cpuprofile", at("server.cpu"), "--memprofile", at("server.mem"))
	w.write(filepath.Join(w.home, "file"), []byte("content"))
	w.transmit("file", "--cpuprofile", at("client.cpu"), "--memprofile", at("client.mem"))
	server.stop()
	for _, name := range []string{"server.cpu", "server.mem", "client.cpu", "client.mem"} {
		demandProfile(t, at(name))
	}
}

func TestProfilesFail(t *testing.T) {
	w := newWorld(t, time.Minute)
	nowhere := filepath.Join(w.dir(), "missing", "file")
	w.expect(exitFailed, []string{"profile the CPU"}, "version", "--cpuprofile", nowhere)
	w.expect(exitFailed, []string{"write a profile"}, "version", "--memprofile", nowhere)
}

func TestProfileFlagsAreHidden(t *testing.T) {
	w := newWorld(t, time.Minute)
	for _, args := range [][]string{{"help"}, {"transmit", "--help"}, {"up", "--help"}} {
		if o := w.ok(args...); strings.Contains(o.out, "profile") {
			t.Errorf("%v shows hidden flags: %v", args, o)
		}
	}
}
