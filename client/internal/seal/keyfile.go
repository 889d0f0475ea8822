package seal

import (
	"bytes"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"servidor-backup/schemas"
)

// A key file is text: comment lines that begin with '#', and the line
//
//	servidor-backup-key-1 <base32 of key (32 B) and checksum (8 B)>
//
// 40 bytes are exactly 64 base32 digits, so no spare bits can hide a typo.
const (
	keyFileMagic   = "servidor-backup-key-"
	keyFileVersion = "1"
	keyFileComment = "# The key of a backup vault. Whoever has it can read the backups; whoever loses it loses the backups. Keep a copy apart from this machine.\n"
	keyFileMax     = 4096 // bytes that are read of a key file
)

var (
	errKeyExposed = errors.New("the key file is open to others")
	errKeyDamaged = errors.New("the key file is damaged")
)

// CreateKey makes a new key and its file, which only the owner can read and which
// is on stable storage when CreateKey returns. It makes missing parent folders. It
// never replaces a file, not even one that appears at the same time: the error is
// then fs.ErrExist.
func CreateKey(path string) (VaultKey, error) {
	key := newVaultKey()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = writeKeyFile(path, encodeKeyFile(key))
	}
	if errors.Is(err, fs.ErrExist) {
		return VaultKey{}, fmt.Errorf("the key file %s exists already: use it, or move it away first: %w", path, fs.ErrExist)
	}
	if err != nil {
		return VaultKey{}, fmt.Errorf("creating the key file %s: %w", path, err)
	}
	return key, nil
}

// writeKeyFile makes a file at path with the whole text, or none. It uses a hard
// link, which fails if the name is taken; a rename would replace the file there.
func writeKeyFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // CreateTemp promises mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in dir durable. Windows has no such call and needs
// none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// LoadKey reads a key file. It refuses a file that others may read or write, and
// a key with a typo. The error is fs.ErrNotExist if there is no file.
func LoadKey(path string) (VaultKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return VaultKey{}, fmt.Errorf("reading the key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return VaultKey{}, fmt.Errorf("reading the key file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return VaultKey{}, fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", errKeyExposed, path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, keyFileMax))
	if err != nil {
		return VaultKey{}, fmt.Errorf("reading the key file: %w", err)
	}
	key, err := decodeKeyFile(text)
	if err != nil {
		return VaultKey{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return key, nil
}

func encodeKeyFile(key VaultKey) []byte {
	sum := keyChecksum(key)
	digits := base32.StdEncoding.EncodeToString(append(key[:], sum[:]...))
	return []byte(keyFileComment + keyFileMagic + keyFileVersion + " " + digits + "\n")
}

func decodeKeyFile(text []byte) (key VaultKey, err error) {
	line, err := keyLine(text)
	if err != nil {
		return key, err
	}
	version, digits, _ := strings.Cut(strings.TrimPrefix(line, keyFileMagic), " ")
	if version != keyFileVersion {
		return key, schemas.Errorf(schemas.TooNew, "the key has version %q, and this program knows version %s: use a newer program", version, keyFileVersion)
	}
	raw, err := base32.StdEncoding.DecodeString(strings.ToUpper(strings.TrimSpace(digits)))
	if err != nil || len(raw) != len(key)+8 {
		return key, fmt.Errorf("%w: the key is not 64 letters and digits", errKeyDamaged)
	}
	copy(key[:], raw)
	sum := keyChecksum(key)
	if subtle.ConstantTimeCompare(sum[:], raw[len(key):]) != 1 {
		return VaultKey{}, fmt.Errorf("%w: the key does not match its checksum; compare it with your copy", errKeyDamaged)
	}
	return key, nil
}

// keyLine returns the only line of a key file that is neither empty nor a comment.
func keyLine(text []byte) (string, error) {
	var found string
	for line := range bytes.Lines(text) {
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("%w: it has more than one key", errKeyDamaged)
		}
		found = s
	}
	if !strings.HasPrefix(found, keyFileMagic) {
		return "", fmt.Errorf("%w: it has no line that begins with %q", errKeyDamaged, keyFileMagic)
	}
	return found, nil
}

// keyChecksum detects typos. It is derived for this purpose alone, so the digits of
// a key file give away nothing of the other derived keys.
func keyChecksum(key VaultKey) (sum [8]byte) {
	key.derive("key file checksum", sum[:])
	return sum
}
