package seal

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"servidor-backup/schemas"
)

func TestKeyFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config", "vault.key")
	made, err := CreateKey(path, "of a test")
	if err != nil {
		t.Fatal(err)
	}
	if read, err := LoadKey(path); err != nil || read != made {
		t.Fatalf("read back as %v, %v", read, err)
	}
	if _, err := CreateKey(path, "of a test"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating over a key: %v", err)
	}
	if read, err := LoadKey(path); err != nil || read != made {
		t.Errorf("the refused creation changed the file: %v", err)
	}
	assertMode(t, path, 0o600)
	assertMode(t, filepath.Dir(path), 0o700)
	if names, _ := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
		t.Errorf("temporary files are left: %v", names)
	}
}

func assertMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want && runtime.GOOS != "windows" {
		t.Errorf("%s has mode %04o, want %04o", path, got, want)
	}
}

func TestLoadKeyOfMissingFile(t *testing.T) {
	if _, err := LoadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Of several concurrent calls that create one key file, exactly one succeeds.
func TestOneOfConcurrentCreateKeysWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.key")
	var wg sync.WaitGroup
	var made [8]VaultKey
	for i := range made {
		wg.Go(func() {
			key, err := CreateKey(path, "of a test")
			if err != nil && !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			made[i] = key
		})
	}
	wg.Wait()
	read, err := LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	winners := 0
	for _, key := range made {
		if key == read {
			winners++
		} else if key != (VaultKey{}) {
			t.Error("CreateKey returned a key that is in no file")
		}
	}
	if winners != 1 {
		t.Errorf("%d calls of CreateKey returned the key of the file, want 1", winners)
	}
}

func TestKeyFileIsPinned(t *testing.T) {
	const golden = "servidor-backup-key-1 AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYPWSE5EVMLJUKZZ\n"
	text := string(encodeKeyFile(testKey(), "of a test"))
	if want := keyFileComment + "# of a test\n" + golden; text != want {
		t.Errorf("the key file is %q, pinned %q", text, want)
	}
	if key, err := decodeKeyFile([]byte(keyFileComment + golden)); err != nil || key != testKey() {
		t.Errorf("a key file that does not say whose it is: %v", err)
	}
	if !strings.HasPrefix(text, "# ") {
		t.Error("the file has no comment that says what it is")
	}
	// As a user types it in from a printout.
	loose := "\n# note\r\n\t" + strings.ToLower(golden) + " \r\n\n"
	if key, err := decodeKeyFile([]byte(loose)); err != nil || key != testKey() {
		t.Errorf("typed in by hand: %v", err)
	}
}

func TestEverySingleWrongDigitIsFound(t *testing.T) {
	text := string(encodeKeyFile(testKey(), "of a test"))
	start := strings.LastIndexByte(text, ' ') + 1
	for i := start; i < len(text)-1; i++ {
		for _, digit := range "A7Q0" {
			typo := text[:i] + string(digit) + text[i+1:]
			if _, err := decodeKeyFile([]byte(typo)); typo != text && !errors.Is(err, errKeyDamaged) {
				t.Fatalf("digit %d typed as %c: %v", i-start, digit, err)
			}
		}
	}
}

// Editors and printouts change what has no meaning.
func TestKeyFileSurvivesEditors(t *testing.T) {
	text := string(encodeKeyFile(testKey(), "of Zoë"))
	digits := text[strings.LastIndexByte(text, ' ')+1:]
	utf16File := func(order binary.AppendByteOrder) string {
		var b []byte
		for _, unit := range utf16.Encode([]rune("\ufeff" + strings.ReplaceAll(text, "\n", "\r\n"))) {
			b = order.AppendUint16(b, unit)
		}
		return string(b)
	}
	for name, changed := range map[string]string{
		"byte order mark":      "\xef\xbb\xbf" + text,
		"carriage returns":     strings.ReplaceAll(text, "\n", "\r\n"),
		"UTF-16":               utf16File(binary.LittleEndian),
		"UTF-16, big end":      utf16File(binary.BigEndian),
		"blanks":               strings.Replace(text, digits, " \t"+digits[:8]+" "+digits[8:40]+"  "+digits[40:len(digits)-1]+" \n", 1),
		"byte order mark only": "\xef\xbb\xbf\r\n" + text,
	} {
		if key, err := decodeKeyFile([]byte(changed)); err != nil || key != testKey() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where a file can neither be renamed without replacing another nor linked, it is written under
// its name.
func TestKeyFileWithoutLinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	text := encodeKeyFile(testKey(), "of a test")
	if err := giveName(path+".gone", path, text); err != nil {
		t.Fatal(err)
	}
	if key, err := LoadKey(path); err != nil || key != testKey() {
		t.Errorf("read back: %v", err)
	}
	if err := giveName(path+".gone", path, []byte("other")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second file: %v", err)
	}
}

func TestRemoveKeyRemovesOnlyThatKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	made, err := CreateKey(path, "of a test")
	if err != nil {
		t.Fatal(err)
	}
	if err := RemoveKey(path, testKey()); err != nil {
		t.Error(err)
	}
	if there, err := LoadKey(path); err != nil || there != made {
		t.Errorf("another key was removed: %v", err)
	}
	if err := RemoveKey(path, made); err != nil {
		t.Error(err)
	}
	if _, err := LoadKey(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key is left: %v", err)
	}
}

func TestBadKeyFilesAreRefused(t *testing.T) {
	good := string(encodeKeyFile(testKey(), "of a test"))
	for name, text := range map[string]string{
		"empty":     "",
		"comment":   keyFileComment,
		"two keys":  good + good,
		"cut":       good[:len(good)-5],
		"no digits": keyFileComment + "servidor-backup-key-1\n",
		"other":     "-----BEGIN PRIVATE KEY-----\n",
	} {
		if _, err := decodeKeyFile([]byte(text)); !errors.Is(err, errKeyDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	newer := strings.Replace(good, "key-1", "key-2", 1)
	if _, err := decodeKeyFile([]byte(newer)); schemas.CodeOf(err) != schemas.TooNew {
		t.Errorf("newer: %v", err)
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add(encodeKeyFile(testKey(), "of a test"))
	f.Add([]byte("servidor-backup-key-1 "))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := decodeKeyFile(text)
		if err != nil {
			return
		}
		if again, err := decodeKeyFile(encodeKeyFile(key, "")); err != nil || again != key {
			t.Errorf("does not round-trip: %v", err)
		}
	})
}
