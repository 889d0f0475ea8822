package main

import (
	"context"
	"fmt"
	"strconv"

	"servidor-backup/client"
)

// listTree prints the content of a version from the path inside on. It prints entries as they
// arrive, so a version of any size needs little memory.
func listTree(ctx context.Context, a *app, id, inside string) error {
	if err := checkID(a.console, id); err != nil {
		return err
	}
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if id, err = s.resolve(ctx, id); err != nil {
		return err
	}
	return s.Tree(ctx, id, inside, func(e *client.Entry) error {
		if a.json {
			return a.printJSON(entryJSON(e))
		}
		_, err := fmt.Fprintf(a.out, "%s %-8s %-8s %12d %s %s\n", modeString(e),
			ownerString(a.console, e.User, e.UID), ownerString(a.console, e.Group, e.GID), e.Size, a.when(e.Mtime),
			pathString(a.console, e))
		return err
	})
}

// jsonEntry is the JSON of a file, folder, link or other entry.
type jsonEntry struct {
	Path     string `json:"path"`
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
		Path: e.Path, Type: e.Type.String(), Mode: fmt.Sprintf("%04o", e.Mode),
		UID: e.UID, GID: e.GID, User: e.User, Group: e.Group, Size: e.Size, Modified: stamp(e.Mtime),
		Target: e.Target, HardLink: e.HardLink,
	}
}

// ownerString is the name of a user or group, or the number if there is no name.
func ownerString(c *console, name string, id uint32) string {
	if name == "" {
		return strconv.FormatUint(uint64(id), 10)
	}
	return c.show(name)
}

// pathString is a path; of a link, also its target.
func pathString(c *console, e *client.Entry) string {
	switch {
	case e.Type == client.TypeSymlink:
		return c.show(e.Path) + " -> " + c.show(e.Target)
	case e.HardLink != "":
		return c.show(e.Path) + " = " + c.show(e.HardLink)
	}
	return c.show(e.Path)
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
