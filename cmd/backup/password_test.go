//go:build unix

package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"servidor-backup/client"
)

// secret is the password of the addresses in these tests.
const secret = "s3cret"

// No command shows the password of an address, whether or not it can be parsed.
func TestPasswordsAreNotShown(t *testing.T) {
	for _, address := range []string{
		"nats://joe:s3cret@127.0.0.1:1", "nats://s3cret@127.0.0.1:1", "joe:s3cret@127.0.0.1:1",
		"nats://127.0.0.1:1,nats://joe:s3cret@127.0.0.1:1", "nats://joe:s3cret", "nats://joe:my s3cret@127.0.0.1:1",
		"nats://joe:%s3cret@127.0.0.1:1", "nats://joe:x,s3cret@127.0.0.1:1", "nats://joe:s3%63ret@127.0.0.1:1",
	} {
		for _, args := range [][]string{
			{"list"}, {"list", "--data", "d"}, {"transmit", ".", "--name", "x"}, {"config", "show"},
			{"coordinator"}, {"coordinator", "--replicas", "9"}, {"storage", "--data", "d", "--zone", "z", "--heal-rate", "x"},
			{"node", "drain", "x", "nats://" + strings.TrimPrefix(address, "nats://")}, {"menu"},
			{"nats://" + strings.TrimPrefix(address, "nats://")},
			{"up", "--data", "d", "--cluster-listen", "127.0.0.1:0", "--routes", address, "--replicas", "9"},
			{"config"}, {"config", "--data", "d"},
		} {
			for _, format := range []string{"--json", "--lang=pt"} {
				c := newCLI(t)
				delete(c.vars, "BACKUP_SERVER")
				c.inTerm, c.in = args[0] == "menu" || args[0] == "config" && len(args) == 1, "\n\n\n5\n"
				var opt client.Options
				ended, cancel := context.WithCancel(t.Context())
				cancel() // a role does not wait for its server
				c.run(ended, append([]string{"--server", address, format}, args...)...)
				opt, said := c.backend.options, c.out.String()+c.err.String()
				if strings.Contains(said, "s3") || said == "" && args[0] != "list" {
					t.Errorf("%q with %s said: %s", args, address, said)
				}
				if opt.Server != "" && opt.Server != address {
					t.Errorf("%q connects to %q", args, opt.Server)
				}
				file, _ := filepath.Glob(filepath.Join(c.home, ".config", folder, "*"))
				for _, path := range file { // only "config" writes it, for its owner alone
					if info, err := os.Stat(path); err != nil || args[0] == "list" || info.Mode().Perm() != 0o600 {
						t.Errorf("%q left %s: %v, %v", args, path, info, err)
					}
				}
			}
		}
	}
}

// A password in a settings file that others can read is told.
func TestReadablePasswordIsTold(t *testing.T) {
	c := newCLI(t)
	delete(c.vars, "BACKUP_SERVER")
	path := c.writeConfig(t, "server = 'nats://joe:s3cret@127.0.0.1:1'\n")
	c.expect(t, exitDone, "list", "--quiet")
	if c.err.String() != "" {
		t.Errorf("of a private file: %s", c.err.String())
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	c.expect(t, exitDone, "list", "--quiet")
	contains(t, c.err.String(), path+" has a password")
}

// Nothing that the roles and the clients of a running system print or write down has the
// password, except for the settings file that it was saved in.
func TestPasswordsAreNotLogged(t *testing.T) {
	w := newWorld(t, time.Minute)
	p, url := w.upRaw(w.dir())
	with := strings.Replace(url, "nats://", "nats://joe:"+secret+"@", 1)
	var said strings.Builder
	roles := []*process{
		w.start("coordinator", "--server", with),
		w.start("storage", "--data", w.dir(), "--server", with, "--name", "b"),
		w.start("storage", "--data", w.dir(), "--server", with, "--name", "c", "--json"),
	}
	for _, r := range roles[:2] {
		said.WriteString(r.serves())
	}
	w.eventually("the node is there", func() bool { return strings.Contains(w.ok("nodes").out, "c ") })
	w.write(filepath.Join(w.home, "src", "file"), []byte("x"))
	for _, args := range [][]string{
		{"config", "--server", with}, {"config", "show"}, {"config", "show", "--json"}, {"transmit", "src"}, {"list"},
		{"status"}, {"--json", "nodes"},
	} {
		said.WriteString(w.ok(args...).String())
	}
	p.stop() // the roles and a client lose their server
	w.eventually("the roles have noticed", func() bool { return strings.Contains(roles[1].stderr.String(), "***@") })
	said.WriteString(w.run("list").String())
	for _, r := range roles {
		if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		r.wait()
		said.WriteString(r.stderr.String())
	}
	said.WriteString(p.stderr.String())
	if i := strings.Index(said.String(), secret); i >= 0 {
		t.Errorf("the password was printed: …%s", said.String()[max(0, i-100):])
	}
	err := filepath.WalkDir(w.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "config.toml" {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), secret) {
			t.Errorf("the password is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	var shown settings
	if err := json.Unmarshal([]byte(w.ok("config", "show", "--json").out), &shown); err != nil || !strings.Contains(shown.Server.Value, "***@") {
		t.Errorf("%+v, %v", shown, err)
	}
}
