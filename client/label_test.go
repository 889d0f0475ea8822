package client

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// A label that was changed, or that belongs to another version, is refused.
func TestLabelsBelongToTheirVersion(t *testing.T) {
	k := seal.New(seal.VaultKey{1})
	want := &label{Root: schemas.ChunkID{2}, Record: "photos", Host: "here", Paths: []string{"/a\xff"}, Top: "a"}
	sealed, err := sealLabel(k, want)
	if err != nil {
		t.Fatal(err)
	}
	v := schemas.Version{ID: "photos@1", Record: "photos", Root: want.Root, Sealed: sealed}
	got, err := openLabel(k, &v)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	plain, err := schemas.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	id := k.DataID(plain)
	frame, err := k.Seal(id[:], id, plain, seal.CompressDefault)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), sealed...)
	flipped[len(flipped)-1] ^= 1
	for what, change := range map[string]func(*schemas.Version){
		"another root":              func(v *schemas.Version) { v.Root = schemas.ChunkID{3} },
		"another record":            func(v *schemas.Version) { v.Record = "letters" },
		"a flipped bit":             func(v *schemas.Version) { v.Sealed = flipped },
		"nothing":                   func(v *schemas.Version) { v.Sealed = nil },
		"a data chunk as the label": func(v *schemas.Version) { v.Sealed = frame },
	} {
		sound, v := v, v
		change(&v)
		if l, err := openLabel(k, &v); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s: %+v, %v", what, l, err)
		}
		if len(v.Sealed) == 0 {
			continue // as of a plain version
		}
		all := []VersionInfo{{Version: v}, {Version: sound}}
		openLabels(k, all)
		if all[0].Unreadable == nil || all[0].Host != "" || all[1].Unreadable != nil || all[1].Host != "here" {
			t.Errorf("%s: the list is %+v", what, all)
		}
	}
}
