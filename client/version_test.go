package client

import (
	"testing"

	"servidor-backup/schemas"
)

// An answer about another version, or whose content does not match it, is refused.
func TestCheckAnswer(t *testing.T) {
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
		"plain":                       {schemas.DownloadReply{Version: &plain, Content: &content}, "a@2", true},
		"sealed":                      {schemas.DownloadReply{Version: &sealed}, "a@2", true},
		"the newest":                  {schemas.DownloadReply{Version: &sealed}, "a", true},
		"no version":                  {schemas.DownloadReply{}, "a", false},
		"another record":              {schemas.DownloadReply{Version: &sealed}, "b", false},
		"another version":             {schemas.DownloadReply{Version: &sealed}, "a@1", false},
		"content of a sealed version": {schemas.DownloadReply{Version: &sealed, Content: &content}, "a", false},
		"no content":                  {schemas.DownloadReply{Version: &plain}, "a", false},
		"other content":               {schemas.DownloadReply{Version: &plain, Content: &wrong}, "a", false},
	} {
		if err := checkAnswer(&c.rep, c.id); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}
