//go:build unix

package main

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// without removes variables from the environment of a program.
func without(cmd *exec.Cmd, names ...string) *exec.Cmd {
	cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(names, name)
	})
	return cmd
}

// Roles and clients run where there is no home folder, or none that can be written, and as a
// user who has only a number.
func TestWithoutAHome(t *testing.T) {
	w := newWorld(t, time.Minute).asNobody()
	if w.cred != nil {
		w.cred = &syscall.Credential{Uid: 54321, Gid: 54321} // who has no name
		if err := os.Chown(w.home, 54321, 54321); err != nil {
			t.Fatal(err)
		}
	}
	w.write(filepath.Join(w.home, "src", "file"), []byte("x"))
	for i, home := range []string{"", "HOME=/proc/no-home"} {
		command := func(args ...string) *exec.Cmd {
			cmd := without(w.command(args...), "HOME", "BACKUP_NICKNAME")
			if home != "" {
				cmd.Env = append(cmd.Env, home)
			}
			return cmd
		}
		data := filepath.Join(w.home, "data", strconv.Itoa(i))
		p := w.launch(command("up", "--data", data, "--listen", "127.0.0.1:0"))
		url := p.serves()
		c := w.launch(command("coordinator", "--server", url))
		c.serves()
		s := w.launch(command("storage", "--data", data+"-b", "--server", url, "--name", "b"))
		s.serves()
		w.finish(command("nodes", "--server", url)).demand(t, exitDone, "b ")
		w.finish(command("transmit", "src", "--server", url, "--key-file", filepath.Join(w.home, "key"))).demand(t, exitDone)
		w.finish(command("list", "src", "--server", url, "--key-file", filepath.Join(w.home, "key"))).demand(t, exitDone, "src@")
		for _, role := range []*process{s, c, p} {
			role.stop()
		}
	}
}

// A hang-up ends a role cleanly, unless nohup has asked to ignore it.
func TestHangUp(t *testing.T) {
	// A process begins with signals ignored that this one ignores, as under nohup, and with the
	// default for those that it handles.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	w := newWorld(t, time.Minute)
	p, _ := w.upRaw(w.dir())
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != exitDone {
		t.Errorf("exit code %d: %s", code, tail(p.stderr.String()))
	}
	nohup := w.command("up", "--data", w.dir(), "--listen", "127.0.0.1:0")
	nohup.Args = append([]string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`, nohup.Path}, nohup.Args[1:]...)
	nohup.Path = "/bin/sh"
	p = w.launch(nohup)
	url := p.serves()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	w.ok("nodes", "--server", url)
	p.stop()
}

// Each of several "up" of an account is found: by its folder, however that is spelled, and
// without an address when the others have ended.
func TestSeveralUp(t *testing.T) {
	w := newWorld(t, time.Minute)
	one, two := filepath.Join(w.home, "one"), filepath.Join(w.home, "two")
	w.up(one, "--name", "first")
	p, _ := w.up(two, "--name", "second")
	w.expect(exitFailed, []string{one, two, "--server", "--data"}, "nodes")
	if err := os.Symlink(one, filepath.Join(w.home, "link")); err != nil {
		t.Fatal(err)
	}
	for _, spelling := range []string{one, "one", "./two/../one/", "link"} {
		w.expect(exitDone, []string{"first"}, "nodes", "--data", spelling)
	}
	w.expect(exitDone, []string{"second"}, "nodes", "--data", two)
	p.stop()
	w.expect(exitDone, []string{"first"}, "nodes")
}
