package client

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

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
		v := v
		change(&v)
		if l, err := openLabel(k, &v); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s: %+v, %v", what, l, err)
		}
	}
}

func TestAnswersAreAboutWhatWasAsked(t *testing.T) {
	content := []byte("oi")
	vault := schemas.PlainVault("ana")
	plain := schemas.Version{Record: "a", Number: 2, Vault: vault, Root: schemas.PlainChunkID(vault, content), RootKind: schemas.Plain}
	sealed := schemas.Version{Record: "a", Number: 2, RootKind: schemas.Tree}
	wrong := []byte("no")
	for what, c := range map[string]struct {
		rep schemas.DownloadReply
		id  string
		ok  bool
	}{
		"plain":                    {schemas.DownloadReply{Version: &plain, Content: &content}, "a@2", true},
		"sealed":                   {schemas.DownloadReply{Version: &sealed}, "a@2", true},
		"the newest":               {schemas.DownloadReply{Version: &sealed}, "a", true},
		"no version":               {schemas.DownloadReply{}, "a", false},
		"another record":           {schemas.DownloadReply{Version: &sealed}, "b", false},
		"another version":          {schemas.DownloadReply{Version: &sealed}, "a@1", false},
		"content for a sealed one": {schemas.DownloadReply{Version: &sealed, Content: &content}, "a", false},
		"no content":               {schemas.DownloadReply{Version: &plain}, "a", false},
		"other content":            {schemas.DownloadReply{Version: &plain, Content: &wrong}, "a", false},
	} {
		if err := checkAnswer(&c.rep, c.id); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}
