package seal

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"servidor-backup/schemas"
)

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
