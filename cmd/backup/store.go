package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// storeDir is the folder of the store in a data folder: the folder itself, or "node" in it
// if "up" made the data folder.
func storeDir(data string) string {
	inside := nodeDir(data)
	itself, err := isStore(data)
	if below, belowErr := isStore(inside); !itself && err == nil && below && belowErr == nil {
		return inside
	}
	return data
}

// isStore reports whether dir holds a store; the file STORE contains its identity. That the
// file cannot be looked at does not mean that there is none.
func isStore(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, "STORE"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// markSystem marks the folder of a whole system. A folder with other things in it, such as a
// disk, is not marked itself, because that would hide the other things from backups: what the
// system has in it is.
func markSystem(data string, exists bool) error {
	others, err := hasOthers(data, filepath.Base(natsDir(data)), filepath.Base(nodeDir(data)))
	if err != nil {
		return err
	}
	if !others {
		return mark(data, exists)
	}
	return errors.Join(mark(natsDir(data), exists), mark(nodeDir(data), exists))
}

// markNode marks the folder of a storage node. A folder that holds other things than a store is
// refused later, and left as it is.
func markNode(dir string, exists bool) error {
	if others, err := hasOthers(dir); err != nil || others && !exists {
		return err
	}
	return mark(dir, exists)
}

// hasOthers reports whether dir has anything else than a marker and what own names.
func hasOthers(dir string, own ...string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() != schemas.StoreMarker && !slices.Contains(own, e.Name())
	}), err
}

// mark writes the marker of a folder with backups, before anything else is in the folder: the
// marker is synced, gets its name, and the folder is synced. A folder that has backups already
// may be on a medium that cannot be written.
func mark(dir string, exists bool) error {
	path := filepath.Join(dir, schemas.StoreMarker)
	if text, err := os.ReadFile(path); err == nil && bytes.HasPrefix(text, []byte(schemas.StoreSignature)) {
		return nil
	}
	err := writePrivate(path, []byte(schemas.StoreSignature+storeMarkerText))
	if err == nil {
		err = os.Chmod(path, 0o644) // another user's backup has to read it
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil && !exists {
		return fmt.Errorf("mark %s as a folder with backups: %w", dir, err)
	}
	return nil
}

// storeMarkerText tells a person who opens the marker what it is for.
const storeMarkerText = `# This folder holds backups of servidor-backup. Its backups leave out what is in the folder.
`

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := vfs.Default.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkStore checks a store that no node serves and calls found for each problem.
func checkStore(ctx context.Context, dir string, found func(string)) error {
	store, err := storage.Open(dir, storage.Options{})
	if isReadOnly(err) {
		store, err = storage.Open(dir, storage.Options{ReadOnly: true})
	}
	if err != nil {
		return err
	}
	_, err = store.Check(ctx, func(p storage.Problem) { found(p.String()) })
	return errors.Join(err, store.Close())
}

// rebuildIndex rebuilds a store's index from its segments.
func rebuildIndex(c *console, dir string) error {
	store, err := storage.Open(dir, storage.Options{RebuildIndex: true})
	if err != nil {
		return err
	}
	warnLost(c, dir, store)
	return store.Close()
}

// warnLost tells which segments of the store in dir are lost.
func warnLost(c *console, dir string, store *storage.Store) {
	for _, l := range store.Lost() {
		text := c.t("storage.lost-unreadable", "Text", l.Why.Error())
		switch {
		case errors.Is(l.Why, fs.ErrNotExist):
			text = c.t("storage.lost-missing")
		case errors.Is(l.Why, storage.ErrTooShort):
			text = c.t("storage.lost-short")
		}
		c.warn(filepath.Join(dir, filepath.FromSlash(l.Segment)), errors.New(text))
	}
}
