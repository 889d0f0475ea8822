package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

// known is what this account remembers of a folder with backups, in a file of the state
// folder: a disk that is not plugged in looks like a folder in which there never were any.
type known struct {
	Data string `json:"data"`           // absolute
	Used bool   `json:"used,omitempty"` // something was saved there, not only served
}

// fileOf names the file about a folder.
func fileOf(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:12]) + ".json"
}

// spellings are the paths under which a folder is remembered: as it was named, and without
// symbolic links. A link may lead nowhere while the disk is away.
func spellings(dir string) []string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	if r := resolved(dir); r != dir {
		return []string{dir, r}
	}
	return []string{dir}
}

// resolved is a path without symbolic links, as far as it exists.
func resolved(path string) string {
	if r, err := filepath.EvalSymlinks(path); err == nil {
		return r
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(resolved(parent), filepath.Base(path))
}

// known returns what is remembered of a folder, or the zero value.
func (c *config) known(dir string) (k known) {
	state, err := c.stateDir()
	if err != nil {
		return k
	}
	for _, path := range spellings(dir) {
		var one known
		data, err := os.ReadFile(filepath.Join(state, "known", fileOf(path)))
		if err == nil && json.Unmarshal(data, &one) == nil && one.Data == path {
			k = known{Data: one.Data, Used: k.Used || one.Used}
		}
	}
	return k
}

// remember notes that a folder has backups, and whether this account saves there. It is a
// convenience, so a state folder that cannot be written is no error.
func (c *config) remember(dir string, used bool) {
	state, err := c.stateDir()
	if before := c.known(dir); err != nil || before.Data != "" && (before.Used || !used) {
		return
	}
	for _, path := range spellings(dir) {
		text, err := json.Marshal(known{Data: path, Used: used})
		if err == nil {
			_ = writePrivate(filepath.Join(state, "known", fileOf(path)), append(text, '\n'))
		}
	}
}

// mayBegin reports as an error that a folder holds no backups, unless they may begin there.
// Where backups have been before, or a setting says that they are, the disk may be missing.
func (a *app) mayBegin(dir, source string) error {
	if a.flags.begin || source != "environment" && source != "file" && a.config.known(dir).Data == "" {
		return nil
	}
	return a.failHint("no-backups", nil, a.t("hint.begin"), "error.no-disk", "Folder", dir)
}

// begun tells that backups have begun in a folder, and remembers it.
func (a *app) begun(dir string, isNew, used bool) {
	if isNew {
		a.notice(a.t("console.begun", "Folder", dir))
	}
	a.config.remember(dir, used)
}

// knownSystem is what this account remembers of an address or a folder: which system answered
// there when it last saved under a nickname. Another one may answer there later: the address was
// given to another machine, or another disk is plugged in.
type knownSystem struct {
	Place    string `json:"place"`
	Nickname string `json:"nickname"`
	System   string `json:"system"`
	Used     int64  `json:"used"` // Unix s
}

// placesOf are the names under which the system of the settings is remembered: its folder, if it
// is known, else its addresses. Several "up" may use one address of this host in turn.
func (c *config) placesOf(s *settings) (places []string) {
	if s.Data.Value != "" {
		return spellings(s.Data.Value)
	}
	running := c.running()
	for _, server := range serverList(s.Server.Value) {
		place := hostPort(server)
		for _, d := range running {
			if s.Server.Source == "discovery" && d.URL == server {
				place = resolved(d.Data)
			}
		}
		places = append(places, place)
	}
	return places
}

// hostPort is an address without scheme, user and password.
func hostPort(server string) string {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return server
	}
	if u.Port() == "" && u.Scheme == "nats" {
		return strings.ToLower(u.Host) + ":4222"
	}
	return strings.ToLower(u.Host)
}

// knownSystem returns what is remembered of the system of the settings, or the zero value.
func (c *config) knownSystem(s *settings) (k knownSystem) {
	for _, place := range c.placesOf(s) {
		var one knownSystem
		path, err := c.systemFile(place, s.Nickname.Value)
		if err != nil {
			return k
		}
		data, err := os.ReadFile(path)
		if err == nil && json.Unmarshal(data, &one) == nil && one.Place == place && one.Nickname == s.Nickname.Value && one.Used > k.Used {
			k = one
		}
	}
	return k
}

// rememberSystem notes in which system a nickname has been saved. It is a convenience, so a state
// folder that cannot be written is no error.
func (c *config) rememberSystem(s *settings, system string) {
	if system == "" {
		return
	}
	now := time.Now()
	if k := c.knownSystem(s); k.System == system && now.Sub(time.Unix(k.Used, 0)) < time.Hour {
		return
	}
	for _, place := range c.placesOf(s) {
		text, err := json.Marshal(knownSystem{Place: place, Nickname: s.Nickname.Value, System: system, Used: now.Unix()})
		path, pathErr := c.systemFile(place, s.Nickname.Value)
		if err == nil && pathErr == nil {
			_ = writePrivate(path, append(text, '\n'))
		}
	}
}

func (c *config) systemFile(place, nickname string) (string, error) {
	state, err := c.stateDir()
	return filepath.Join(state, "systems", fileOf(place+"\n"+nickname)), err
}

// otherSystem explains that the backup which ended with err would have gone to another system
// than those before it.
func (a *app) otherSystem(err error, s *session) error {
	k := a.config.knownSystem(&s.settings)
	return a.failHint(string(schemas.OtherSystem), err, a.t("hint.other-system"), "error.other-system",
		"Place", a.show(k.Place), "Nickname", k.Nickname, "Before", k.System, "When", a.when(time.Unix(k.Used, 0).UnixNano()))
}

// expect makes a backup go to the system that the nickname was saved in before.
func (a *app) expect(s *settings, opt *client.Options) {
	if !a.flags.begin {
		opt.System = a.config.knownSystem(s).System
	}
}

// tellTime bounds the time for asking which system answers.
const tellTime = 2 * time.Second

// tellOther tells if another system answers than the one that is remembered. A coordinator knows
// which one it is when it has answered another request.
func (a *app) tellOther(ctx context.Context, s *session, k *knownSystem) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	m, err := s.Nodes(ctx)
	if err != nil || m.System == "" || m.System == k.System {
		return // without an answer, the command itself has said why
	}
	a.notice(a.t("console.other-system", "Place", a.show(k.Place), "Nickname", k.Nickname, "Before", k.System,
		"When", a.when(time.Unix(k.Used, 0).UnixNano()), "Now", m.System))
}
