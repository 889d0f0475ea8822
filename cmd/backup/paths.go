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

// folder is the name of this program's folders in the XDG places.
const folder = "servidor-backup"

var errNoHome = errors.New("neither a home folder nor its XDG variable is known")

// configDir is where the settings and the keys are.
func (a *app) configDir() (string, error) {
	return a.xdg("XDG_CONFIG_HOME", ".config", "APPDATA")
}

// stateDir is where a running "up" leaves its address.
func (a *app) stateDir() (string, error) {
	return a.xdg("XDG_STATE_HOME", filepath.Join(".local", "state"), "LOCALAPPDATA")
}

// xdg is this program's folder below what the variable says, else below the
// default in the home folder, else (on Windows) below the system's variable.
// The XDG specification says to ignore relative paths.
func (a *app) xdg(variable, inHome, windows string) (string, error) {
	if dir := a.env.getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, folder), nil
	}
	if dir := a.env.getenv(windows); a.env.goos == "windows" && dir != "" {
		return filepath.Join(dir, folder), nil
	}
	home, err := a.env.home()
	if err != nil {
		return "", fmt.Errorf("%w: set %s to a folder: %v", errNoHome, variable, err)
	}
	return filepath.Join(home, inHome, folder), nil
}

// configPath is the settings file.
func (a *app) configPath(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if path := a.env.getenv("BACKUP_CONFIG"); path != "" {
		return path, nil
	}
	dir, err := a.configDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "config.toml"), nil
}

// defaultKeyPath is where the key of a nickname's vault is unless told otherwise.
func (a *app) defaultKeyPath(nickname string) (string, error) {
	dir, err := a.configDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "keys", escapeName(nickname)+".key"), nil
}

// maxEscaped keeps an escaped name, with what is put around it, below the 255
// bytes that file systems allow.
const maxEscaped = 200

// escapeName turns any nickname into a file name that no other nickname has,
// also where the file system does not tell capitals from small letters. What
// is not a small letter, a digit or one of "-_." becomes %XX.
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

// writePrivate puts data at path at once, readable by the owner alone. The
// folder is made if it is not there.
func writePrivate(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // 0600 by its contract
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // there is nothing left to remove after the rename
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
