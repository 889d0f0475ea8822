package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"servidor-backup/client"
)

// writeConfig writes the default settings file.
func (c *cli) writeConfig(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(c.home, ".config", folder, "config.toml")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// shown is the output of "config show".
func (c *cli) shown(t *testing.T, args ...string) settings {
	t.Helper()
	c.expect(t, exitDone, append([]string{"config", "show", "--json"}, args...)...)
	var s settings
	if err := json.Unmarshal([]byte(c.out.String()), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPrecedence(t *testing.T) {
	c := newCLI(t)
	c.vars = map[string]string{}
	if s := c.shown(t); s.Server != (setting{"", "default"}) || s.Nickname != (setting{"ana", "default"}) {
		t.Errorf("with nothing: %+v", s)
	}
	path := c.writeConfig(t, "server = 'nats://file'\nnickname = 'f'\nkey_file = '/f.key'\n")
	s := c.shown(t)
	if s.Server != (setting{"nats://file", "file"}) || s.KeyFile != (setting{"/f.key", "file"}) || s.File != path {
		t.Errorf("with a file: %+v", s)
	}
	c.vars["BACKUP_SERVER"], c.vars["BACKUP_KEY_FILE"] = "nats://env", "/e.key"
	s = c.shown(t)
	if s.Server != (setting{"nats://env", "environment"}) || s.Nickname.Source != "file" || s.KeyFile.Value != "/e.key" {
		t.Errorf("with an environment: %+v", s)
	}
	s = c.shown(t, "--server", "nats://flag", "--nickname", "x", "--key-file", "k")
	if s.Server != (setting{"nats://flag", "flag"}) || s.Nickname.Value != "x" || s.KeyFile.Value != "k" {
		t.Errorf("with flags: %+v", s)
	}
	other := filepath.Join(c.home, "other.toml")
	c.vars["BACKUP_CONFIG"] = other
	if s := c.shown(t); s.File != other || s.Nickname.Source != "default" {
		t.Errorf("with another file: %+v", s)
	}
}

func TestInvalidSettingsFile(t *testing.T) {
	for text, says := range map[string]string{
		"nickname = 'a'\nserver_url = 'x'\n": `line 2: unknown setting "server_url"`,
		"nickname = 7\n":                     `line 1: `,
		"\n\nnickname = 'a\n":                `line 3: `,
		"[extra]\nx = 1\n":                   `line 1: unknown setting "extra"`,
	} {
		c := newCLI(t)
		path := c.writeConfig(t, text)
		c.expect(t, exitFailed, "list")
		contains(t, c.err.String(), "backup: "+path+", ", says)
		c.expect(t, exitDone, "version") // a command without settings works
	}
}

func TestConfigSets(t *testing.T) {
	c := newCLI(t)
	delete(c.vars, "BACKUP_SERVER")
	path := filepath.Join(c.home, ".config", folder, "config.toml")
	c.expect(t, exitDone, "config", "--server", "nats://a:1,b:2", "--nickname", "ana maria", "--lang", "pt_BR")
	contains(t, c.err.String(), path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	s := c.shown(t)
	if s.Server.Value != "nats://a:1,b:2" || s.Nickname.Value != "ana maria" || s.Lang != (setting{"pt", "file"}) {
		t.Errorf("%+v", s)
	}
	c.expect(t, exitDone, "configurar", "--unset", "nickname")
	if s := c.shown(t); s.Nickname.Source != "default" || s.Server.Source != "file" {
		t.Errorf("after removing a setting: %+v", s)
	}
	for _, bad := range []string{"http://a", "nats://", "nats://a b", "a,,b"} {
		c.expect(t, exitUsage, "config", "--server", bad)
	}
}

func TestDiscovery(t *testing.T) {
	c := newCLI(t)
	delete(c.vars, "BACKUP_SERVER")
	a := newApp(nil, streams{nil, &c.out, &c.err}, c.environment())
	announce := func(url, data string, pid int) (withdraw func() error) {
		t.Helper()
		withdraw, err := a.config.announce(discovery{URL: url, PID: pid, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		return withdraw
	}
	withdraw := announce("nats://127.0.0.1:7", "/d", os.Getpid())
	if s := c.shown(t); s.Server != (setting{"nats://127.0.0.1:7", "discovery"}) {
		t.Errorf("not discovered: %+v", s)
	}
	// A backup skips the folder of this "up" also if its address is one of several.
	for servers, own := range map[string]int{"nats://127.0.0.1:7": 1, "nats://127.0.0.1:6, nats://127.0.0.1:7": 1, "nats://127.0.0.1:77": 0} {
		if got := backupFolders(a.config, &settings{Server: setting{Value: servers}}); len(got) != own {
			t.Errorf("with %s, %q are skipped", servers, got)
		}
	}
	// One that has died does not count, and does not hide the other.
	withdrawDead := announce("nats://127.0.0.1:8", "/e", os.Getpid()+1)
	if s := c.shown(t); s.Server.Value != "nats://127.0.0.1:7" {
		t.Errorf("a dead process hides a living one: %+v", s)
	}
	// With several, no guess is made, unless only one of them is in use.
	withdrawSecond := announce("nats://127.0.0.1:9", "/f", os.Getpid())
	c.expect(t, exitFailed, "list")
	contains(t, c.err.String(), "nats://127.0.0.1:7 (/d), nats://127.0.0.1:9 (/f)", "--server", "--data")
	c.expect(t, exitFailed, "coordinator")
	contains(t, c.err.String(), "nats://127.0.0.1:7 (/d)")
	a.config.remember("/d", false)
	c.expect(t, exitFailed, "list")
	c.expect(t, exitDone, "transmit", ".", "--name", "x", "--server", "nats://127.0.0.1:9")
	c.expect(t, exitDone, "list")
	contains(t, c.err.String(), "Using the backups in /f (nats://127.0.0.1:9)", "nats://127.0.0.1:7 (/d)")
	if c.backend.options.Server != "nats://127.0.0.1:9" {
		t.Errorf("%+v", c.backend.options)
	}
	// A second "up" on the same folder replaces the first, which leaves its file alone.
	withdrawThird := announce("nats://127.0.0.1:10", "/d", os.Getpid())
	for _, end := range []func() error{withdraw, withdrawSecond, withdrawDead, withdrawDead} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.shown(t); s.Server.Value != "nats://127.0.0.1:10" {
		t.Errorf("after the others have ended: %+v", s)
	}
	if err := withdrawThird(); err != nil {
		t.Fatal(err)
	}
	if s := c.shown(t); s.Server.Value != "" || len(a.config.running()) > 0 {
		t.Errorf("after all have ended: %+v", s)
	}
}

// The files about running "up" may be damaged, or be something else.
func TestDiscoveryOfDamagedFiles(t *testing.T) {
	c := newCLI(t)
	a := newApp(nil, streams{nil, &c.out, &c.err}, c.environment())
	dir, _ := a.config.discoveryDir()
	if err := os.MkdirAll(filepath.Join(dir, "folder.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"empty": "", "half": `{"url":"nats://127`, "other": `[1]`, "nothing": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.config.announce(discovery{URL: "nats://127.0.0.1:7", PID: os.Getpid(), Data: "/d"}); err != nil {
		t.Fatal(err)
	}
	if all := a.config.running(); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

// Settings files come from editors of all kinds.
func TestSettingsFileOfAnyEditor(t *testing.T) {
	text := "# cafés\nserver = ' nats://a '\nnickname = 'zoé'\nkey_file = '~/k'\n"
	units := func(order binary.ByteOrder, text string) string {
		var b []byte
		for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
			b = append(b, 0, 0)
			order.PutUint16(b[len(b)-2:], u)
		}
		return string(b)
	}
	for name, saved := range map[string]string{
		"plain": text, "with a mark": "\xef\xbb\xbf" + text, "CRLF": strings.ReplaceAll("\xef\xbb\xbf"+text, "\n", "\r\n"),
		"spaces": "\n\n  " + strings.ReplaceAll(text, "\n", "  \n\t"),
		"UTF-16": units(binary.LittleEndian, text), "UTF-16, the other way": units(binary.BigEndian, text),
	} {
		c := newCLI(t)
		c.vars = nil
		c.writeConfig(t, saved)
		if s := c.shown(t); s.Server.Value != "nats://a" || s.Nickname.Value != "zoé" || s.KeyFile.Value != filepath.Join(c.home, "k") {
			t.Errorf("%s: %+v", name, s)
		}
	}
	c := newCLI(t)
	c.vars = map[string]string{"BACKUP_SERVER": "nats://a\r", "BACKUP_NICKNAME": " \r\n"}
	if s := c.shown(t); s.Server.Value != "nats://a" || s.Nickname.Source != "default" {
		t.Errorf("variables with ends of lines: %+v", s)
	}
}

// A ~ that no shell has replaced is the home folder, wherever the path comes from.
func TestTildeIsHome(t *testing.T) {
	c := newCLI(t)
	c.vars = nil
	c.writeConfig(t, "data = '~/d'\nkey_file = '~'\n")
	if s := c.shown(t); s.Data.Value != filepath.Join(c.home, "d") || s.KeyFile.Value != c.home {
		t.Errorf("file: %+v", s)
	}
	c.vars = map[string]string{"BACKUP_DATA": "~/e", "BACKUP_KEY_FILE": "~x/k", "BACKUP_CONFIG": "~/c.toml"}
	if s := c.shown(t); s.Data.Value != filepath.Join(c.home, "e") || s.KeyFile.Value != "~x/k" || s.File != filepath.Join(c.home, "c.toml") {
		t.Errorf("environment: %+v", s)
	}
	c.vars = nil
	s := c.shown(t, "--data=~/f", "--key-file=~/k", "--config=~/g")
	if s.Data.Value != filepath.Join(c.home, "f") || s.KeyFile.Value != filepath.Join(c.home, "k") || s.File != filepath.Join(c.home, "g") {
		t.Errorf("flags: %+v", s)
	}
}

// Without a home folder everything works that needs no file of it, and the error of the rest
// says once what to name.
func TestWithoutHome(t *testing.T) {
	c := newCLI(t)
	c.homeFails = errors.New("$HOME is not defined")
	c.expect(t, exitDone, "list")
	c.expect(t, exitDone, "config", "show")
	c.backend.fails = client.ErrNoKeyFile
	c.expect(t, exitFailed, "transmit", ".", "--name", "x")
	contains(t, c.err.String(), "--key-file", "HOME")
	for _, args := range [][]string{{"config", "--nickname", "x"}, {"list", "--config=~/x"}, {"list", "--data=~/x"}} {
		c.expect(t, exitFailed, args...)
		if got := c.err.String(); strings.Count(got, "home folder is unknown") != 1 || !strings.Contains(got, "--config") {
			t.Errorf("%q: %s", args, got)
		}
	}
}

func TestEscapedNamesDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{
		"ana", "Ana", "%41na", ".ana", "a.na", "ana maria", "ána", "CON", "a:b",
		strings.Repeat("é", 300), strings.Repeat("é", 301),
	} {
		got := escapeName(name)
		if other := seen[strings.ToLower(got)]; other != "" {
			t.Errorf("%q and %q are both %s", name, other, got)
		}
		seen[strings.ToLower(got)] = name
		if len(got) > maxEscaped || strings.ContainsAny(got, `/\: `) || got[0] == '.' {
			t.Errorf("%q becomes %q", name, got)
		}
	}
}

func TestXDG(t *testing.T) {
	c := newCLI(t)
	abs := filepath.Join(c.home, "xdg")
	for _, test := range []struct {
		goos, want string
		vars       map[string]string
	}{
		{"linux", filepath.Join(c.home, ".config", folder), nil},
		{"linux", filepath.Join(abs, folder), map[string]string{"XDG_CONFIG_HOME": abs}},
		{"linux", filepath.Join(c.home, ".config", folder), map[string]string{"XDG_CONFIG_HOME": "relative"}},
		{"windows", filepath.Join(abs, folder), map[string]string{"APPDATA": abs}},
		{"linux", filepath.Join(c.home, ".config", folder), map[string]string{"APPDATA": abs}},
	} {
		c.vars = test.vars
		env := c.environment()
		env.goos = test.goos
		a := newApp(nil, streams{nil, &c.out, &c.err}, env)
		if got, err := a.config.dir(); got != test.want || err != nil {
			t.Errorf("%+v: %s, %v", test, got, err)
		}
	}
}
