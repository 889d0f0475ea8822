package main

import (
	"context"
	"fmt"
	"strconv"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

// listTree prints what is inside a version, from a path inside it on. It prints
// as the entries arrive, so a version of any size needs little memory.
func (a *app) listTree(ctx context.Context, id, inside string) error {
	if _, _, err := schemas.ParseVersionID(id); err != nil {
		return a.usage("error.bad-id", "Detail", err.Error())
	}
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	return b.Tree(ctx, id, inside, func(e *client.Entry) error {
		if a.flags.json {
			return a.printJSON(entryJSON(e))
		}
		_, err := fmt.Fprintf(a.out, "%s %-8s %-8s %12d %s %s\n", modeString(e),
			a.owner(e.User, e.UID), a.owner(e.Group, e.GID), e.Size, a.when(e.Mtime), a.pathString(e))
		return err
	})
}

// jsonEntry is what --json prints of a file, folder or link.
type jsonEntry struct {
	Path     string `json:"path"`
	Exact    []byte `json:"path_bytes,omitempty"` // when the path is not UTF-8
	Type     string `json:"type"`
	Mode     string `json:"mode"` // octal
	UID      uint32 `json:"uid"`
	GID      uint32 `json:"gid"`
	User     string `json:"user,omitempty"`
	Group    string `json:"group,omitempty"`
	Size     int64  `json:"size"`
	Modified string `json:"modified"`
	Target   string `json:"target,omitempty"`
	HardLink string `json:"hard_link,omitempty"`
}

func entryJSON(e *client.Entry) jsonEntry {
	return jsonEntry{
		Path: e.Path, Exact: exactBytes(e.Path), Type: e.Type.String(), Mode: fmt.Sprintf("%04o", e.Mode),
		UID: e.UID, GID: e.GID, User: e.User, Group: e.Group, Size: e.Size, Modified: stamp(e.Mtime),
		Target: e.Target, HardLink: e.HardLink,
	}
}

// owner is a user's or group's name, or its number where it has none.
func (a *app) owner(name string, id uint32) string {
	if name == "" {
		return strconv.FormatUint(uint64(id), 10)
	}
	return a.show(name)
}

// pathString is a path, and where a link leads.
func (a *app) pathString(e *client.Entry) string {
	switch {
	case e.Type == client.TypeSymlink:
		return a.show(e.Path) + " -> " + a.show(e.Target)
	case e.HardLink != "":
		return a.show(e.Path) + " = " + a.show(e.HardLink)
	}
	return a.show(e.Path)
}

// typeLetters are those of ls -l.
var typeLetters = map[client.EntryType]byte{
	client.TypeFile: '-', client.TypeDir: 'd', client.TypeSymlink: 'l', client.TypeFifo: 'p',
	client.TypeChar: 'c', client.TypeBlock: 'b', client.TypeSocket: 's',
}

// modeString writes type and mode as ls -l does: drwxr-xr-x.
func modeString(e *client.Entry) string {
	letter, ok := typeLetters[e.Type]
	if !ok {
		letter = '?'
	}
	s := []byte{letter}
	for i, c := range []byte("rwxrwxrwx") {
		if e.Mode&(0o400>>i) == 0 {
			c = '-'
		}
		s = append(s, c)
	}
	special := func(bit uint32, at int, with, without byte) {
		if e.Mode&bit == 0 {
			return
		}
		if s[at] == 'x' {
			s[at] = with
		} else {
			s[at] = without
		}
	}
	special(0o4000, 3, 's', 'S')
	special(0o2000, 6, 's', 'S')
	special(0o1000, 9, 't', 'T')
	return string(s)
}
