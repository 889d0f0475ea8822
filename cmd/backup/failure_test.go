package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/embedded"
	"servidor-backup/client"
	"servidor-backup/schemas"
)

func TestExitCodes(t *testing.T) {
	x := newTexts("en")
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("any"), 1},
		{schemas.Errorf(schemas.NoNode, "none"), 1},
		{x.usage("error.no-command"), 2},
		{fmt.Errorf("wrapped: %w", x.usage("error.no-command")), 2},
		{x.partial("transmit.partial", 2), 3},
		{fmt.Errorf("wrapped: %w", context.Canceled), 130},
		{x.withHint(context.Canceled, "hint"), 130},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, test := range []struct {
		says string
		args []string
	}{
		{`unknown command "lisst"; did you mean "list"`, []string{"lisst"}},
		{`unknown command "restore"; did you mean "download"`, []string{"restore"}},
		{`unknown command "snapshots"; did you mean "list"`, []string{"snapshots"}},
		{`unknown command "zzz"`, []string{"zzz"}},
		{`"0s" is not a valid value for --wait`, []string{"transmit", "a", "--wait", "0s"}},
		{`unknown flag --bogus`, []string{"list", "--bogus"}},
		{`unknown flag -x`, []string{"list", "-x"}},
		{`--name needs a value`, []string{"transmit", "a", "--name"}},
		{"--heal-rate", []string{"storage", "--data", "x", "--heal-rate", "fast"}},
		{"-1h0m0s is not a time", []string{"storage", "--data", "x", "--scrub-period", "-1h"}},
		{`"x" is not a valid value for --weight`, []string{"storage", "--weight", "x"}},
		{`argument is missing: backup transmit PATH… [FLAGS]`, []string{"transmit"}},
		{`one argument too many, "b"`, []string{"nodes", "b"}},
		{`unknown language "xx"`, []string{"list", "--lang", "xx"}},
		{`needs a name`, []string{"transmit", "-"}},
		{`several paths need a name`, []string{"transmit", "a", "b"}},
		{`together`, []string{"transmit", "-", "b", "--name", "n"}},
		{`"a/b" contains "/"`, []string{"transmit", "a", "--name", "a/b"}},
		{`--tree needs`, []string{"list", "--tree"}},
		{`needs --tree`, []string{"list", "a", "b"}},
		{`version 0`, []string{"download", "a@0"}},
		{`only one file`, []string{"download", "a", "b", "c", "--to", "-"}},
		{`--data FOLDER`, []string{"up"}},
		{`write HOST:PORT`, []string{"up", "--data", "d", "--listen", "4222"}},
		{`--data FOLDER`, []string{"storage"}},
		{`shell "tcsh"`, []string{"completion", "tcsh"}},
		{`say what to set`, []string{"config"}},
		{`--nickname: `, []string{"config", "--nickname", "a/b"}},
		{`no command was given`, nil},
		{`unknown command "zzz"`, []string{"help", "zzz"}},
	} {
		c := newCLI(t)
		c.expect(t, exitUsage, test.args...)
		contains(t, c.err.String(), "backup: ", test.says, "hint: ")
		if c.out.String() != "" {
			t.Errorf("%q wrote to stdout: %s", test.args, c.out.String())
		}
	}
}

// Flags that need each other, and invalid values.
func TestClusterFlags(t *testing.T) {
	for _, args := range [][]string{
		{"up", "--data", "d", "--cluster-listen", "127.0.0.1:6222"},
		{"up", "--data", "d", "--routes", "nats://127.0.0.1:6222"},
		{"up", "--data", "d", "--cluster-name", "x"},
		{"up", "--data", "d", "--replicas", "3"},
		{"up", "--data", "d", "--cluster-listen", "6222", "--routes", "nats://127.0.0.1:6222"},
		{"up", "--data", "d", "--cluster-listen", "127.0.0.1:6222", "--routes", "nats://127.0.0.1"},
		{"up", "--data", "d", "--cluster-listen", "127.0.0.1:6222", "--routes", "nats://127.0.0.1:1", "--replicas", "6"},
		{"coordinator", "--server", "nats://127.0.0.1", "--replicas", "6"},
		{"coordinator", "--server", "nats://127.0.0.1", "--replicas", "-1"},
	} {
		newCLI(t).expect(t, exitUsage, args...)
	}
}

func TestOtherHostsNeedInsecure(t *testing.T) {
	for _, args := range [][]string{
		{"up", "--data", "d", "--listen", "0.0.0.0:4222"},
		{"up", "--data", "d", "--listen", ":4222"},
		{"up", "--data", "d", "--listen", "[::]:4222"},
		{"up", "--data", "d", "--cluster-listen", "10.0.0.1:6222", "--routes", "nats://10.0.0.1:6222"},
		{"coordinator", "--server", "nats://10.0.0.1"},
		{"coordinator", "--server", "127.0.0.1,host.example"},
		{"storage", "--data", "d", "--server", "tls://host.example:4222"},
	} {
		c := newCLI(t)
		c.expect(t, exitFailed, args...)
		contains(t, c.err.String(), "no authentication yet", "--insecure")
	}
	for _, host := range []string{"localhost", "127.0.0.1", "127.9.9.9", "::1"} {
		if !loopback(host) {
			t.Errorf("%s is not loopback", host)
		}
	}
}

// Errors of server and client are translated, with their own sentence as the detail and with a
// hint.
func TestExplain(t *testing.T) {
	pt := newTexts("pt")
	f := pt.explain(fmt.Errorf("saving: %w", schemas.Errorf(schemas.DiskFull, "node a1 is full")))
	contains(t, f.text, "o disco do nó está cheio", "saving: node a1 is full")
	contains(t, f.hint, "libere espaço")
	if f.code != "disk-full" {
		t.Errorf("code %q", f.code)
	}
	if f := pt.explain(schemas.Errorf("from-the-future", "what is this")); f.text != "what is this" {
		t.Errorf("unknown code: %q", f.text)
	}
	if f := pt.explain(context.Canceled); f.text != "interrompido" {
		t.Errorf("cancelled: %q", f.text)
	}
	if f := pt.explain(fmt.Errorf("dial: %w", nats.ErrNoServers)); f.code != "unreachable" || f.hint == "" {
		t.Errorf("unreachable: %+v", f)
	}
}

func TestNoServer(t *testing.T) {
	c := newCLI(t)
	delete(c.vars, "BACKUP_SERVER")
	c.expect(t, exitFailed, "list", "--json")
	contains(t, c.err.String(), `{"error":{"code":"no-server","message":"no server is known","hint":"start one`)
}

func TestBadNickname(t *testing.T) {
	c := newCLI(t)
	c.expect(t, exitFailed, "list", "--nickname", "a/b", "--lang", "pt")
	contains(t, c.err.String(), "backup: o nome \"a/b\" contém \"/\"")
}

type brokenPipe struct{}

var errBroken = errors.New("broken pipe")

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }

func TestFailingStdout(t *testing.T) {
	c := newCLI(t)
	c.backend.records = []schemas.Record{{Name: "a"}}
	code := run(t.Context(), []string{"list"}, streams{nil, brokenPipe{}, &c.err}, c.environment())
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	contains(t, c.err.String(), "writing to stdout failed: broken pipe")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newCLI(t)
	c.backend.takes = 1 << 40
	c.backend.during = func(*client.Progress) { cancel() }
	if code := c.run(ctx, "transmit", "x"); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	contains(t, c.err.String(), "backup: interrupted")
}

// A library's error says what happened; the command adds what to type, in the user's language.
func TestHintsForErrorsOfLibraries(t *testing.T) {
	exists := fmt.Errorf("/tmp/photos exists already: %w", fs.ErrExist)
	sameName := fmt.Errorf("\"a/x\" and \"b/x\" would both appear as \"x\": %w", client.ErrSameName)
	for _, test := range []struct {
		err  error
		hint string
		args []string
	}{
		{client.ErrNoCoordinator, `start one with "backup coordinator --server nats://127.0.0.1:4222"`, []string{"list"}},
		{client.ErrNoCoordinator, `inicie um com "backup coordinator --server nats://127.0.0.1:4222"`, []string{"listar", "--lang", "pt"}},
		{exists, "choose another folder with --to", []string{"download", "photos"}},
		{exists, "escolha outra pasta com --to", []string{"baixar", "photos", "--lang", "pt"}},
		{sameName, "use a different --to for each", []string{"download", "photos", "a/x", "b/x"}},
		{sameName, "use um --to diferente para cada um", []string{"baixar", "photos", "a/x", "b/x", "--lang", "pt"}},
		{schemas.Errorf(schemas.BadName, "bad"), "with --name", []string{"transmit", "a:b"}},
		{schemas.Errorf(schemas.UnknownRecord, "forgotten"), `"backup lembrar"`, []string{"baixar", "photos", "--lang", "pt"}},
	} {
		c := filled(t)
		c.backend.fails = test.err
		c.expect(t, exitFailed, test.args...)
		contains(t, c.err.String(), test.hint)
	}
	if f := newTexts("en").explain(client.ErrNoCoordinator); f.hint != "" {
		t.Errorf("without a server, no coordinator can be started at one: %+v", f)
	}
	if f := newTexts("en").explain(fmt.Errorf("d: %w", embedded.ErrClustered)); !strings.Contains(f.hint, "--routes") {
		t.Errorf("a server's folder that was part of a cluster: %+v", f)
	}
}

// What other programs and people call a command leads to a command that exists.
func TestOtherWordsLeadToCommands(t *testing.T) {
	c := newCLI(t)
	root := newRoot(newApp(nil, streams{strings.NewReader(""), &c.out, &c.err}, c.environment()))
	for word, name := range otherWords {
		if cmd, _, err := root.Find([]string{name}); err != nil || cmd.Name() != name {
			t.Errorf("%q leads to %q, which is no command", word, name)
		}
		if cmd, _, err := root.Find([]string{word}); err == nil && cmd != root {
			t.Errorf("%q is a command itself: %s", word, cmd.Name())
		}
	}
}

func TestLatestIsTheNewestVersion(t *testing.T) {
	c := filled(t)
	newest := c.backend.versions[0].ID
	for _, args := range [][]string{{"forget", "photos@latest"}, {"list", "photos@latest", "--tree"}} {
		c.backend.asked = nil
		c.expect(t, exitDone, args...)
		if asked := strings.Join(c.backend.asked, "; "); !strings.Contains(asked, newest) {
			t.Errorf("%v asked for %s, not for %s", args, asked, newest)
		}
	}
	c.expect(t, exitDone, "download", "photos@latest")
	if got := c.backend.restores[0].ID; got != newest {
		t.Errorf("download restored %s, not %s", got, newest)
	}
}
