package client

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"servidor-backup/schemas"
)

func TestLabelsBelongToTheirVersion(t *testing.T) {
	k := newKeys(VaultKey{1})
	want := &label{Root: schemas.ChunkID{2}, Record: "photos", Host: "here", Paths: []string{"/a\xff"}, Top: "a"}
	sealed, err := k.sealLabel(want)
	if err != nil {
		t.Fatal(err)
	}
	v := schemas.Version{ID: "photos@1", Record: "photos", Root: want.Root, Sealed: sealed}
	got, err := k.openLabel(&v)
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
	id := k.dataID(plain)
	chunk, err := k.sealData(id[:], id, plain, sealOptions{})
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
		"a data chunk as the label": func(v *schemas.Version) { v.Sealed = chunk },
	} {
		v := v
		change(&v)
		if l, err := k.openLabel(&v); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", what, l, err)
		}
	}
}
