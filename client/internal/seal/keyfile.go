package seal

import (
	"bytes"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode/utf16"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/schemas"
)

// A key file is text: comment lines that begin with '#', and the line
//
//	servidor-backup-key-1 <base32 of key (32 B) and checksum (8 B)>
//
// A byte order mark, carriage returns, and blanks anywhere in the line or around it do no harm,
// and editors may save the text as UTF-16.
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
// is on stable storage when CreateKey returns. about is a line that tells people whose
// key it is. CreateKey makes missing parent folders. It never replaces a file, not even
// one that appears at the same time: the error is then fs.ErrExist.
func CreateKey(path, about string) (VaultKey, error) {
	key := newVaultKey()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = writeKeyFile(path, encodeKeyFile(key, about))
	}
	if errors.Is(err, fs.ErrExist) {
		return VaultKey{}, fmt.Errorf("the key file %s exists already: use it, or move it away first: %w", path, fs.ErrExist)
	}
	if err != nil {
		return VaultKey{}, fmt.Errorf("creating the key file %s: %w", path, err)
	}
	return key, nil
}

// writeKeyFile makes a file at path with the whole text, or none: it writes and syncs a
// file under another name, and then gives it the final name in a way that fails if the
// name is taken.
func writeKeyFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // CreateTemp promises mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), checkPrivate(f, path), f.Close())
	if err != nil {
		return err
	}
	if err := giveName(f.Name(), path, text); err != nil {
		return err
	}
	return syncDir(dir)
}

// giveName gives the file at temp, whose content is text, the name path. Which way a file
// system has differs: FAT, exFAT and SMB have no hard links, NFS has no renaming without
// replacing. Where it has neither, the file is written under its final name; a power failure
// during that can leave a damaged file, but not one that a vault knows.
func giveName(temp, path string, text []byte) error {
	err := osfs.RenameNew(temp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	err = os.Link(temp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		var back []byte
		if back, err = os.ReadFile(path); err == nil && !bytes.Equal(back, text) {
			err = errors.New("the file reads back differently")
		}
	}
	if err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// RemoveKey removes the key file at path, if it holds this key.
func RemoveKey(path string, key VaultKey) error {
	if there, err := LoadKey(path); err != nil || there != key {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// checkPrivate refuses a key file that others may read or write. path is its name, for the
// message. A new file that is open to others lies on a file system without permissions.
func checkPrivate(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if mode&0o077 == 0 || runtime.GOOS == "windows" {
		return nil
	}
	return fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s, or keep it in a folder that has permissions (FAT and exFAT have none)", errKeyExposed, path, mode, path)
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
	if err := checkPrivate(f, path); err != nil {
		return VaultKey{}, fmt.Errorf("reading the key file: %w", err)
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

func encodeKeyFile(key VaultKey, about string) []byte {
	sum := keyChecksum(key)
	digits := base32.StdEncoding.EncodeToString(append(key[:], sum[:]...))
	return []byte(keyFileComment + "# " + about + "\n" + keyFileMagic + keyFileVersion + " " + digits + "\n")
}

func decodeKeyFile(text []byte) (key VaultKey, err error) {
	line, err := keyLine(toUTF8(text))
	if err != nil {
		return key, err
	}
	words := strings.Fields(strings.TrimPrefix(line, keyFileMagic))
	version, digits := "", ""
	if len(words) > 0 {
		version, digits = words[0], strings.Join(words[1:], "")
	}
	if version != keyFileVersion {
		return key, schemas.Errorf(schemas.TooNew, "the key has version %q, and this program knows version %s: use a newer program", version, keyFileVersion)
	}
	raw, err := base32.StdEncoding.DecodeString(strings.ToUpper(digits))
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

// toUTF8 returns the text without a byte order mark, which may say that it is in UTF-16.
func toUTF8(text []byte) []byte {
	order := map[string]binary.ByteOrder{"\xff\xfe": binary.LittleEndian, "\xfe\xff": binary.BigEndian}[string(text[:min(2, len(text))])]
	if order == nil {
		return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	}
	units := make([]uint16, len(text)/2-1)
	for i := range units {
		units[i] = order.Uint16(text[2+2*i:])
	}
	return []byte(string(utf16.Decode(units)))
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
