package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	withdraw, err := a.config.announce(discovery{URL: "nats://127.0.0.1:7", PID: os.Getpid(), Data: "/d"})
	if err != nil {
		t.Fatal(err)
	}
	if s := c.shown(t); s.Server != (setting{"nats://127.0.0.1:7", "discovery"}) {
		t.Errorf("not discovered: %+v", s)
	}
	// A backup skips the folder of this "up" also if its address is one of several.
	for servers, own := range map[string]int{"nats://127.0.0.1:7": 1, "nats://127.0.0.1:6, nats://127.0.0.1:7": 1, "nats://127.0.0.1:77": 0} {
		if got := backupFolders(a.config, &settings{Server: setting{Value: servers}}); len(got) != own {
			t.Errorf("with %s, %q are skipped", servers, got)
		}
	}
	withdrawDead, err := a.config.announce(discovery{URL: "nats://127.0.0.1:8", PID: os.Getpid() + 1})
	if err != nil {
		t.Fatal(err)
	}
	if s := c.shown(t); s.Server.Value != "" {
		t.Errorf("a dead process was discovered: %+v", s)
	}
	path, _ := a.config.discoveryPath()
	if err := withdraw(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the first \"up\" removed the file of the second: %v", err)
	}
	for range 2 {
		if err := withdrawDead(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file still exists: %v", err)
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
	c.vars = nil
	env := c.environment()
	env.home = func() (string, error) { return "", fmt.Errorf("no HOME") }
	a := newApp(nil, streams{nil, &c.out, &c.err}, env)
	if _, err := a.config.settings(); err == nil || !strings.Contains(err.Error(), "XDG_CONFIG_HOME") {
		t.Errorf("without a home: %v", err)
	}
}
