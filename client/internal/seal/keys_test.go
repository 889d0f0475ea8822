package seal

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"servidor-backup/client/internal/clienttest"
	"strings"
	"sync"
	"testing"

	"servidor-backup/schemas"
)

// testKey is a fixed key: what this package's tests pin is pinned for it.
func testKey() VaultKey { return clienttest.Key() }

func TestDerivedKeysArePinned(t *testing.T) {
	k := New(testKey())
	f := testKey().Fingerprint()
	src := testKey().SourceID("host", "/home/ana")
	content := k.DataID([]byte("content"))
	tree := k.TreeID([]schemas.ChunkID{{1}}, []schemas.ChunkID{{2}}, []byte("payload"))
	for _, c := range []struct{ what, got, want string }{
		{"fingerprint", hex.EncodeToString(f[:]), "dd2771fef9180ce3aa9327425d2064c1"},
		{"source id", hex.EncodeToString(src[:]), "5f01ffa70977d0481ee845d0dea77a21"},
		{"data id", content.String(), "327a87b1d35481df2f59012270c36a77ccd4cd051e3e96634f1b446506db26c6"},
		{"tree id", tree.String(), "6edf5603536f5c581593cf42337b35f6f0b30599646a7fd533c7a77eda9dab1c"},
		{"gear", fmt.Sprintf("%016x", binary.LittleEndian.Uint64(k.CutSeed()[8*255:])), "ce4cbe6334b0f47e"},
	} {
		if c.got != c.want {
			t.Errorf("%s is %s, pinned %s: every vault depends on it", c.what, c.got, c.want)
		}
	}
}

func TestSourceIDKeepsHostAndPathApart(t *testing.T) {
	if testKey().SourceID("a", "bc") == testKey().SourceID("ab", "c") {
		t.Error("two sources have one id")
	}
	if testKey().SourceID("a", "b") == newVaultKey().SourceID("a", "b") {
		t.Error("the id does not depend on the key")
	}
}

func TestTreeIDCoversEdges(t *testing.T) {
	k, id := New(testKey()), func(b byte) []schemas.ChunkID { return []schemas.ChunkID{{b}} }
	seen := map[schemas.ChunkID]bool{k.DataID(nil): true}
	for _, tree := range []schemas.ChunkID{
		k.TreeID(nil, nil, nil),
		k.TreeID(id(1), nil, nil),
		k.TreeID(nil, id(1), nil),
		k.TreeID(id(1), id(2), nil),
		k.TreeID(id(2), id(1), nil),
		k.TreeID(append(id(1), id(2)...), nil, nil),
		k.TreeID(nil, nil, []byte{1}),
	} {
		if seen[tree] {
			t.Errorf("two different chunks have the id %s", tree.Short())
		}
		seen[tree] = true
	}
}

func TestKeyDoesNotPrintItself(t *testing.T) {
	key := testKey()
	secret := hex.EncodeToString(key[:4])
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		out := fmt.Sprintf(format, key)
		if strings.Contains(out, secret) || strings.Contains(out, "0 1 2 3") || strings.Contains(out, "0x0, 0x1") {
			t.Errorf("%s prints the key: %s", format, out)
		}
	}
}

func TestKeyFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config", "vault.key")
	made, err := CreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if read, err := LoadKey(path); err != nil || read != made {
		t.Fatalf("read back as %v, %v", read, err)
	}
	if _, err := CreateKey(path); !errors.Is(err, fs.ErrExist) {
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

func TestLoadKeyWithoutFile(t *testing.T) {
	if _, err := LoadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Of many that create one key file at a time, one does, and all find its key.
func TestCreateKeyRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.key")
	var wg sync.WaitGroup
	var made [8]VaultKey
	for i := range made {
		wg.Go(func() {
			key, err := CreateKey(path)
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
			t.Error("a key was made that is in no file")
		}
	}
	if winners != 1 {
		t.Errorf("%d winners", winners)
	}
}

func TestExposedKeyFileIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	path := filepath.Join(t.TempDir(), "vault.key")
	if _, err := CreateKey(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(path); !errors.Is(err, errKeyExposed) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestKeyFileIsPinned(t *testing.T) {
	const golden = "servidor-backup-key-1 AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYPWSE5EVMLJUKZZ\n"
	text := string(encodeKeyFile(testKey()))
	if _, line, _ := strings.Cut(text, "\n"); line != golden {
		t.Errorf("the key file is %q, pinned %q", line, golden)
	}
	if !strings.HasPrefix(text, "# ") {
		t.Error("the file does not say what it is")
	}
	// As it comes back from a printout.
	loose := "\n# note\r\n\t" + strings.ToLower(golden) + " \r\n\n"
	if key, err := decodeKeyFile([]byte(loose)); err != nil || key != testKey() {
		t.Errorf("typed in by hand: %v", err)
	}
}

// No single wrong digit goes unnoticed.
func TestKeyFileTypos(t *testing.T) {
	text := string(encodeKeyFile(testKey()))
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

func TestKeyFileRefusals(t *testing.T) {
	good := string(encodeKeyFile(testKey()))
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
	f.Add(encodeKeyFile(testKey()))
	f.Add([]byte("servidor-backup-key-1 "))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := decodeKeyFile(text)
		if err != nil {
			return
		}
		if again, err := decodeKeyFile(encodeKeyFile(key)); err != nil || again != key {
			t.Errorf("does not round-trip: %v", err)
		}
	})
}
