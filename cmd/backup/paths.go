package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// folder is the name of this program's folders below the XDG base folders.
const folder = "servidor-backup"

var errNoHome = errors.New("the home folder is unknown")

// dir is the folder of the settings and the keys.
func (c *config) dir() (string, error) {
	return c.xdg("XDG_CONFIG_HOME", ".config", "APPDATA")
}

// stateDir is the folder in which a running "up" writes its address.
func (c *config) stateDir() (string, error) {
	return c.xdg("XDG_STATE_HOME", filepath.Join(".local", "state"), "LOCALAPPDATA")
}

// xdg is this program's folder: below the folder that the XDG variable names; else, on
// Windows, below the folder that the system's variable names; else below the default in
// the home folder. The XDG specification says to ignore relative paths.
func (c *config) xdg(variable, inHome, windows string) (string, error) {
	if dir := c.env.getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, folder), nil
	}
	if dir := c.env.getenv(windows); c.env.goos == "windows" && dir != "" {
		return filepath.Join(dir, folder), nil
	}
	home, err := c.env.home()
	if err != nil {
		return "", fmt.Errorf("%w (%v)", errNoHome, err)
	}
	return filepath.Join(home, inHome, folder), nil
}

// path is the settings file.
func (c *config) path(flag string) (string, error) {
	if flag != "" {
		return c.atHome(flag)
	}
	if path := c.env.getenv("BACKUP_CONFIG"); path != "" {
		return c.atHome(path)
	}
	dir, err := c.dir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "config.toml"), nil
}

// atHome replaces a leading ~ of a path by the home folder, as a shell does for arguments of
// their own, but not in settings, variables and --flag=~/path.
func (c *config) atHome(path string) (string, error) {
	rest, found := strings.CutPrefix(path, "~")
	if !found || rest != "" && !os.IsPathSeparator(rest[0]) {
		return path, nil
	}
	home, err := c.env.home()
	if err != nil {
		return "", fmt.Errorf("%s: %w (%v)", path, errNoHome, err)
	}
	return filepath.Join(home, rest), nil
}

// defaultKeyPath is the key file of a nickname's vault unless a setting names another.
func (c *config) defaultKeyPath(nickname string) (string, error) {
	dir, err := c.dir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "keys", escapeName(nickname)+".key"), nil
}

// maxEscaped bounds an escaped name so that the file's name, with the extension and the
// suffix of a temporary file, stays below the 255 bytes that file systems allow.
const maxEscaped = 200

// escapeName turns a nickname into a file name that no other nickname gets, even on file
// systems that ignore case. Every byte except small letters, digits and "-_." becomes %XX,
// and so does a leading ".".
func escapeName(name string) string {
	var b strings.Builder
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	if b.Len() <= maxEscaped {
		return b.String()
	}
	sum := sha256.Sum256([]byte(name))
	return b.String()[:maxEscaped-2*8-1] + "%" + hex.EncodeToString(sum[:8])
}

// writePrivate replaces the file at path atomically. Only the owner can read the file. The
// folder is created if it does not exist.
func writePrivate(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // 0600 by its contract
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename it finds nothing to remove
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
