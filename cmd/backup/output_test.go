package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

var testTime = time.Date(2026, 3, 9, 14, 5, 0, 0, time.UTC).UnixNano()

func testVersion(number uint64) schemas.Version {
	return schemas.Version{
		ID: schemas.VersionID("photos", number), Record: "photos", Number: number, Created: testTime,
		Files: 1234, Bytes: 1_234_567_890, Stored: 25_000_000, Durability: schemas.Durability{K: 1},
	}
}

// filled has an answer to every command.
func filled(t *testing.T) *cli {
	c := newCLI(t)
	c.backend.records = []schemas.Record{
		{Name: "photos", Versions: 3, Latest: 3, Created: testTime, Files: 1234, Bytes: 1_234_567_890, Sealed: true},
		{Name: "写真 \u202e", Versions: 1, Latest: 1, Created: testTime, Files: 1, Bytes: 12},
	}
	partial := testVersion(2)
	partial.Partial = true
	c.backend.versions = []client.VersionInfo{
		{Version: testVersion(3), Host: "desk", Paths: []string{"/home/ana/photos"}},
		{Version: partial, Host: "desk", Paths: []string{"/home/ana/photos", "/mnt/\x1b[2Jmore"}},
	}
	c.backend.entries = []*client.Entry{
		{Path: ".", Type: client.TypeDir, Mode: 0o755, User: "ana", Group: "users", Mtime: testTime},
		{Path: "a b", Type: client.TypeFile, Mode: 0o4640, UID: 1000, GID: 7, Size: 1_234_567, Mtime: testTime},
		{Path: "bad\xff\nname", Type: client.TypeFile, Mode: 0o600, User: "ana", Group: "users", Mtime: -1},
		{Path: "link", Type: client.TypeSymlink, Mode: 0o777, Target: "../x", Mtime: testTime},
		{Path: "same", Type: client.TypeFile, Mode: 0o1001, HardLink: "a b", Size: 1_234_567, Mtime: testTime},
	}
	c.backend.nodes = []schemas.Node{
		{ID: "a1", Name: "attic", State: schemas.Up, Weight: 200, Chunks: 12345, Bytes: 6e9, Free: 2e12, Registered: testTime},
		{ID: "b2", Name: "cellar", State: schemas.Down, Zone: "south", Weight: 1, Trouble: "disk-full", Registered: testTime},
	}
	c.backend.backup = client.BackupResult{
		Version: testVersion(3), Files: 1234, Bytes: 1_234_567_890, Unchanged: 1200, Read: 30_000_000,
		Sent: 25_000_000, Chunks: 51,
	}
	c.backend.restore = client.RestoreResult{
		Version: testVersion(3), Files: 1234, Bytes: 1_234_567_890, Received: 600_000_000, Top: []string{"photos"},
	}
	c.backend.takes = 4200 * time.Millisecond
	c.backend.policy = schemas.PolicyReply{
		Policy:    schemas.Policy{Durability: &schemas.Durability{K: 1, M: 1}, Degraded: new(true), Grace: new(int64(time.Hour))},
		Effective: schemas.Durability{K: 1, M: 1}, Nicknames: []schemas.NicknamePolicy{{Nickname: "rui", Durability: schemas.Durability{K: 4, M: 2}}},
	}
	done := schemas.Collection{
		Generation: 7, Started: testTime, Ended: testTime + int64(time.Minute), Versions: 2, Marked: 12345, Chunks: 321,
		Bytes: 160_000_000, Freed: 134_000_000,
	}
	c.backend.collection = []schemas.Collection{{Generation: 7, Started: testTime, Step: "marking"}, done}
	c.backend.state = schemas.StatusReply{
		Map: &schemas.NodeMap{Epoch: 9, Nodes: c.backend.nodes},
		Nodes: []schemas.NodeStatus{{
			Node: c.backend.nodes[0], Epoch: 9,
			Survey: schemas.Survey{Epoch: 9, Ended: testTime, Misplaced: 1, ToHeal: 3, Healed: 40, Bytes: 20_000_000, TimeLeft: 95e9, Waiting: "cellar is full", Levels: []schemas.Level{
				{Durability: schemas.Durability{K: 1, M: 1}, Margin: 1, Chunks: 12000},
				{Durability: schemas.Durability{K: 1, M: 1}, Margin: 0, Chunks: 3},
				{Durability: schemas.Durability{K: 4, M: 2}, Margin: -1, Chunks: 2},
			}},
			Scrub: schemas.ScrubStatus{Running: true, Done: 0.371, Found: 1},
		}},
		Collection: done,
		Lost:       []schemas.Lost{{Nickname: "rui", Version: "photos@2", Chunks: 2}, {Nickname: "rui", Version: "photos@1", Chunks: 1}},
		LostMore:   true,
	}
	return c
}

// A version whose label cannot be opened is listed as unreadable, beside the others.
func TestUnreadableVersionIsListed(t *testing.T) {
	c := filled(t)
	c.backend.versions[0] = client.VersionInfo{Version: testVersion(3), Unreadable: client.ErrDamaged}
	c.expect(t, exitPartial, "list", "photos", "--key-file", "ana.key")
	contains(t, c.out.String(), "(unreadable)", "photos@3", "photos@2", "desk:")
	contains(t, c.err.String(), "photos@3", "1 version cannot be read")
	c.expect(t, exitPartial, "list", "photos", "--key-file", "ana.key", "--json")
	contains(t, c.out.String(), `"unreadable":true`)
}

// A rebuild waits for nodes that are not up, and then names them and changes nothing.
func TestRebuildWaitsForNodes(t *testing.T) {
	c := filled(t)
	c.expect(t, exitFailed, "rebuild-catalogue", "--key-file", "ana.key", "--wait", "10s")
	contains(t, c.err.String(), "nothing was rebuilt", "cellar", "--without-missing")
	if c.out.String() != "" {
		t.Errorf("stdout: %s", c.out.String())
	}
}

// TestOutput compares the output of commands in both languages and as JSON with golden files.
func TestOutput(t *testing.T) {
	for name, args := range map[string][]string{
		"records":    {"list"},
		"versions":   {"list", "photos"},
		"version":    {"list", "photos@2"},
		"forgotten":  {"list", "photos", "--forgotten"},
		"tree":       {"list", "photos", "--tree"},
		"nodes":      {"nodes"},
		"transmit":   {"transmit", "photos", "--key-file", "/keys/ana.key"},
		"download":   {"download", "photos", "--to", "/tmp"},
		"help":       {"--help"},
		"help-child": {"help", "storage"},
		"config":     {"config", "show", "--config", "none.toml"},
		"status":     {"status"},
		"scrub":      {"scrub"},
		"check":      {"check", "photos", "--read-data=5%"},
		"policy":     {"policy"},
		"gc":         {"gc"},
		"rebuild":    {"rebuild-catalogue", "--without-missing"},
		"forget":     {"forget", "photos"},
		"drain":      {"node", "drain", "attic"},
	} {
		for _, form := range []string{"en", "pt", "json"} {
			t.Run(name+"/"+form, func(t *testing.T) {
				c := filled(t)
				c.inTerm, c.vars["NO_COLOR"] = form != "json", "1"
				args := append(slices.Clone(args[:1]), slices.Concat([]string{"--key-file", "ana.key"}, args[1:])...)
				if form == "json" {
					args = append(args, "--json")
				} else {
					args = append(args, "--lang", form)
				}
				code := exitDone
				switch name {
				case "status":
					code = exitEndangered // the prepared system has lost chunks
				case "rebuild":
					code = exitPartial // and a node that is down
				}
				c.expect(t, code, args...)
				golden(t, name+"."+form, c.out.String())
				if c.err.String() != "" && !slices.Contains([]string{"forget", "drain", "gc", "rebuild", "status"}, name) {
					t.Errorf("stderr: %s", c.err.String())
				}
			})
		}
	}
}

func TestJSONIsOneObjectPerLine(t *testing.T) {
	c := filled(t)
	c.backend.warns = map[string]error{"x\xff": errors.New("permission denied")}
	c.backend.backup.Unreadable = 1
	c.backend.keyCreated = true
	c.expect(t, exitPartial, "transmit", "photos", "--json")
	for line := range strings.Lines(c.out.String() + c.err.String()) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	contains(t, c.out.String(), `"key_created":true`, `"unreadable":1`)
	contains(t, c.err.String(), `"warning"`, `"path_bytes":"eP8="`, `"notice"`, `"code":"partial"`)
}

func TestTransmitReportsKeyAndUnsavedPaths(t *testing.T) {
	c := filled(t)
	c.backend.keyCreated = true
	c.backend.warns = map[string]error{"photos/secret": errors.New("permission denied")}
	c.backend.backup.Unreadable = 1
	c.expect(t, exitPartial, "transmit", "photos", "--quiet", "--exclude", "*.tmp", "--exclude", "a,b", "--moved")
	if c.out.String() != "" {
		t.Errorf("stdout with --quiet: %s", c.out.String())
	}
	contains(t, c.err.String(), "only key", c.backend.options.KeyFile,
		"warning: photos/secret: permission denied\n", "backup: 1 path could not be saved completely")
	opt := c.backend.backups[0]
	if !opt.Moved || strings.Join(opt.Exclude, "|") != "*.tmp|a,b" {
		t.Errorf("options %+v", opt)
	}
}

func TestTransmitLeavesOut(t *testing.T) {
	c := filled(t)
	c.in = "*.o\n"
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.backend.backup.LeftOut[client.LeftByPattern].Paths = 2
	c.backend.backup.LeftOut[client.LeftCacheFolder].Paths = 1
	args := []string{"transmit", "photos", "--exclude-file", list, "--exclude-file", "-", "--ignore-file", ".gitignore",
		"--exclude-caches", "--one-file-system", "--exclude-larger-than", "2K", "--no-dump-flag"}
	c.expect(t, exitDone, args...)
	contains(t, c.out.String(), "Left out: 2 paths by patterns, the content of 1 cache folder.")
	opt := c.backend.backups[0]
	if len(opt.ExcludeFiles) != 2 || string(opt.ExcludeFiles[0].Text) != "a\n" || string(opt.ExcludeFiles[1].Text) != "*.o\n" {
		t.Errorf("files of patterns %+v", opt.ExcludeFiles)
	}
	if !opt.ExcludeCaches || !opt.OneFileSystem || !opt.NoDump || opt.ExcludeLargerThan != 2048 || !slices.Equal(opt.IgnoreFiles, []string{".gitignore"}) {
		t.Errorf("options %+v", opt)
	}
	c.expect(t, exitDone, append(args, "--json")...)
	contains(t, c.out.String(), `"left_out":{"caches":{"paths":1,"bytes":0},"patterns":{"paths":2,"bytes":0}}`)
	c.backend.fails = &client.PatternError{Why: client.PatternOutside}
	c.expect(t, exitUsage, "transmit", "photos", "--exclude", "/x/y")
	contains(t, c.err.String(), "can never match: it is for a place outside")
	for _, bad := range [][]string{
		{"-", "--name", "x", "--exclude", "a"}, {"photos", "--exclude-larger-than", "much"},
		{"photos", "--ignore-file", "a/b"}, {"photos", "--ignore-file", ""},
	} {
		c.expect(t, exitUsage, append([]string{"transmit"}, bad...)...)
	}
	c.expect(t, exitFailed, "transmit", "photos", "--exclude-file", list+".not")
	contains(t, c.err.String(), "cannot read the patterns")
}

func TestKeyIsReportedIfTheBackupFails(t *testing.T) {
	c := filled(t)
	c.backend.keyCreated = true
	c.backend.fails = schemas.Errorf(schemas.NoNode, "no storage node is up")
	c.expect(t, exitFailed, "transmit", "photos")
	contains(t, c.err.String(), "only key", "backup: no storage node is up\n", "hint: start one")
}

func TestTransmitStdin(t *testing.T) {
	c := filled(t)
	c.in = "dump"
	c.expect(t, exitDone, "transmitir", "-", "--name", "shop.sql")
	if c.backend.stdin != "dump" || c.backend.backups[0].Name != "shop.sql" {
		t.Errorf("saved %q as %q", c.backend.stdin, c.backend.backups[0].Name)
	}
}

func TestDurabilityText(t *testing.T) {
	x := newTexts("en")
	for d, want := range map[schemas.Durability]string{
		{K: 1}:       "one copy",
		{K: 1, M: 1}: "any 1 node may",
		{K: 4, M: 2}: "any 2 nodes may",
		{K: 4}:       "if any node is lost",
	} {
		contains(t, x.durability(d), d.String(), want)
	}
}

func TestDownloadToStdout(t *testing.T) {
	c := filled(t)
	c.backend.content = "\x00bytes"
	c.expect(t, exitDone, "baixar", "photos@3", "a/b", "--to", "-")
	if got := c.out.String(); got != "\x00bytes" {
		t.Errorf("stdout %q", got)
	}
	if c.backend.asked[0] != "cat photos@3 a/b" || c.err.String() != "" {
		t.Errorf("asked %q, stderr %q", c.backend.asked, c.err.String())
	}
}

func TestDownloadOptions(t *testing.T) {
	c := filled(t)
	c.backend.restore.Failed = 2
	c.expect(t, exitPartial, "download", "photos", "a", "b", "--force")
	opt := c.backend.restores[0]
	if opt.ID != "photos" || strings.Join(opt.Inside, "|") != "a|b" || opt.To != "." || !opt.Force {
		t.Errorf("options %+v", opt)
	}
	contains(t, c.err.String(), "2 paths could not be restored")
}

func TestTreeIsRawWhenPiped(t *testing.T) {
	c := filled(t)
	c.expect(t, exitDone, "ls", "photos@3", "--tree", "a")
	contains(t, c.out.String(), "bad\xff\nname")
	if c.backend.asked[0] != "tree photos@3 a" {
		t.Errorf("asked %q", c.backend.asked)
	}
}

func TestListUnknownVersion(t *testing.T) {
	c := filled(t)
	c.expect(t, exitFailed, "list", "photos@9", "--json")
	contains(t, c.err.String(), `"code":"unknown-version"`, `no version 9`)
}

func TestEmptySystem(t *testing.T) {
	c := newCLI(t)
	c.expect(t, exitDone, "list")
	contains(t, c.err.String(), "Nothing is saved under the nickname ana yet.")
	c.backend.nicknames = []string{"ana", "root", "rui"}
	c.expect(t, exitDone, "list")
	contains(t, c.err.String(), "under the nickname ana yet.", "There is something under: root, rui (--nickname root).")
	c.backend.forgotten = []schemas.Record{{Name: "old"}}
	c.expect(t, exitDone, "list")
	contains(t, c.err.String(), `1 record is forgotten ("backup list --forgotten")`)
	c.expect(t, exitDone, "list", "--nicknames")
	if c.out.String() != "ana\nroot\nrui\n" {
		t.Errorf("nicknames: %s", c.out.String())
	}
	c.backend.forgotten = nil
	c.expect(t, exitDone, "list", "--json")
	if all := c.out.String() + c.err.String(); all != "" {
		t.Errorf("with --json: %q", all)
	}
	c.expect(t, exitDone, "nodes", "--lang", "pt")
	contains(t, c.err.String(), "Nenhum nó")
}

// The system is intact only if every reachable node has surveyed everything under the
// current map.
func TestIntact(t *testing.T) {
	state := func() *schemas.StatusReply {
		two := schemas.Durability{K: 1, M: 1}
		node := func(id string) schemas.NodeStatus {
			return schemas.NodeStatus{Node: schemas.Node{ID: schemas.NodeID(id)}, Survey: schemas.Survey{
				Epoch: 5, Ended: 1, Levels: []schemas.Level{{Durability: two, Margin: 1, Chunks: 7}}}}
		}
		return &schemas.StatusReply{
			Map:   &schemas.NodeMap{Epoch: 5, Nodes: []schemas.Node{{ID: "a", State: schemas.Up}, {ID: "b", State: schemas.Draining}, {ID: "c", State: schemas.Gone}}},
			Nodes: []schemas.NodeStatus{node("a"), node("b")},
		}
	}
	s := state()
	c := conditionOf(s)
	for newer, want := range map[int64]string{0: "Everything is intact.", 8: "Everything that was surveyed is intact."} {
		out := newCLI(t)
		x := newConsole(newTexts("en"), streams{nil, &out.out, &out.err}, out.environment())
		fresh := conditionOf(state())
		fresh.newer = newer
		printCondition(x, &fresh)
		if err := x.out.Flush(); err != nil || !strings.HasPrefix(out.out.String(), want+"\n") {
			t.Errorf("with %d newer parts: %s (%v)", newer, out.out.String(), err)
		}
	}
	if !c.intact() || len(c.levels) != 1 || c.levels[0].Chunks != 14 {
		t.Errorf("%+v", c)
	}
	for name, spoil := range map[string]func(s *schemas.StatusReply){
		"a node has not answered": func(s *schemas.StatusReply) { s.Nodes = s.Nodes[:1] },
		"another map":             func(s *schemas.StatusReply) { s.Nodes[1].Survey.Epoch = 4 },
		"a survey runs":           func(s *schemas.StatusReply) { s.Nodes[0].Survey.Running = true },
		"no survey yet":           func(s *schemas.StatusReply) { s.Nodes[0].Survey.Ended = 0 },
		"a part is to be healed":  func(s *schemas.StatusReply) { s.Nodes[0].Survey.ToHeal = 1 },
		"a part is misplaced":     func(s *schemas.StatusReply) { s.Nodes[1].Survey.Misplaced = 1 },
		"a chunk is endangered":   func(s *schemas.StatusReply) { s.Nodes[1].Survey.Levels[0].Margin = 0 },
		"a chunk is lost":         func(s *schemas.StatusReply) { s.Nodes[1].Survey.Levels[0].Margin = -1 },
	} {
		s := state()
		spoil(s)
		if c := conditionOf(s); c.intact() {
			t.Errorf("%s, and everything counts as intact", name)
		}
	}
}

func TestPolicyOfOneNicknameAndOfAll(t *testing.T) {
	c := filled(t)
	c.expect(t, exitDone, "policy", "durability", "4+2")
	c.expect(t, exitDone, "politica", "durability", "auto", "--nickname", "rui")
	c.expect(t, exitUsage, "policy", "durability", "two")
	c.expect(t, exitUsage, "policy", "durability", "1+1", "--nickname", "rui", "--degraded")
	want := []string{"durability  4+2", "close", "durability rui 0+0", "close"}
	if !slices.Equal(c.backend.asked, want) {
		t.Errorf("asked %q", c.backend.asked)
	}
}

func TestFailedCollection(t *testing.T) {
	c := filled(t)
	c.backend.collection = []schemas.Collection{{Ended: 1, Error: "the map has changed"}}
	c.expect(t, exitFailed, "gc")
	contains(t, c.err.String(), "nothing was collected: the map has changed", "backup rebuild-catalogue")
}

func TestCheckReportsDamage(t *testing.T) {
	c := filled(t)
	c.backend.warns = map[string]error{"a/b": errors.New("lost")}
	c.expect(t, exitFailed, "check", "--read-data")
	contains(t, c.err.String(), "photos@3/a/b: lost", "1 path cannot be restored", `save them again with "backup transmit --recheck"`)
	for _, bad := range []string{"5", "-1%", "101%", "x%"} {
		c.expect(t, exitUsage, "verificar", "photos@3", "--read-data="+bad)
	}
	if want := []string{"check  1", "close"}; !slices.Equal(c.backend.asked, want) {
		t.Errorf("asked %q", c.backend.asked)
	}
}
