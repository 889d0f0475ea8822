package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

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

// checkStore checks a store that no node serves and calls found for each problem.
func checkStore(ctx context.Context, dir string, found func(string)) error {
	store, err := storage.Open(dir, storage.Options{})
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
