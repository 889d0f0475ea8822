package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
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
