package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"servidor-backup/client"
)

// Every name that a program can meet comes with its bytes: of paths, targets of links, owners,
// hosts, folders and settings.
func TestJSONKeepsTheBytesOfNames(t *testing.T) {
	const bad = "x\xff"
	exact := base64.StdEncoding.EncodeToString([]byte(bad))
	c := filled(t)
	c.backend.entries = []*client.Entry{{
		Path: bad, Type: client.TypeSymlink, User: bad, Group: bad, Target: bad, HardLink: bad,
	}}
	c.backend.versions = c.backend.versions[:1]
	c.backend.versions[0].Host = bad
	c.backend.versions[0].Paths = []string{"/ok", bad}
	c.backend.restore.Top = []string{bad, "ok"}
	both := func(first, second string) []any {
		return []any{base64.StdEncoding.EncodeToString([]byte(first)), base64.StdEncoding.EncodeToString([]byte(second))}
	}
	keyFile, err := filepath.Abs(bad)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want map[string]any
	}{
		{[]string{"list", "photos", "--tree"}, map[string]any{"path_bytes": exact, "user_bytes": exact,
			"group_bytes": exact, "target_bytes": exact, "hard_link_bytes": exact}},
		{[]string{"list", "photos"}, map[string]any{"host_bytes": exact, "paths_bytes": both("/ok", bad)}},
		{[]string{"download", "photos", "--to", bad}, map[string]any{"to_bytes": exact, "top_bytes": both(bad, "ok")}},
		{[]string{"transmit", "photos", "--key-file", bad}, map[string]any{"key_file_bytes": base64.StdEncoding.EncodeToString([]byte(keyFile))}},
	} {
		c.expect(t, exitDone, append(test.args, "--json")...)
		var got map[string]any
		if err := json.Unmarshal([]byte(c.out.String()), &got); err != nil {
			t.Fatalf("%s: %v", c.out.String(), err)
		}
		for name, want := range test.want {
			if diff := cmp.Diff(want, got[name]); diff != "" {
				t.Errorf("%v: %s: %s", test.args, name, diff)
			}
		}
	}
}

// What writeJSON adds to a value is nothing but the bytes: everything else is as package json
// writes it.
func TestJSONWithBytesIsOtherwiseTheSame(t *testing.T) {
	type part struct {
		A string   `json:"a"`
		B []string `json:"b,omitempty"`
		C *int     `json:"c"`
	}
	type whole struct {
		Parts []part            `json:"parts"`
		Raw   []byte            `json:"raw"`
		None  []part            `json:"none"`
		Words map[string]string `json:"words"`
		Time  float64           `json:"time,omitempty"`
	}
	v := whole{
		Parts: []part{{A: "\xfe"}, {A: "a", B: []string{"b"}}}, Raw: []byte{1}, Words: map[string]string{"k": "<v>"},
	}
	var got, want map[string]any
	var buf bytes.Buffer
	if err := writeJSON(&buf, v); err != nil {
		t.Fatal(err)
	}
	plain, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(plain, &want); err != nil {
		t.Fatal(err)
	}
	first := got["parts"].([]any)[0].(map[string]any)
	if first["a_bytes"] != "/g==" {
		t.Errorf("a_bytes is %v", first["a_bytes"])
	}
	delete(first, "a_bytes")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
