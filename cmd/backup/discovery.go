package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// discovery is the file that a running "up" writes for clients of the same user on the same
// host, so that they need no settings. Each "up" has a file of its own, named after its data
// folder. The files are a convenience: everything works without them.
type discovery struct {
	URL  string `json:"url"`
	PID  int    `json:"pid"`
	Data string `json:"data"` // absolute
}

// discoveryDir is the folder of the files of all running "up".
func (c *config) discoveryDir() (string, error) {
	dir, err := c.stateDir()
	return filepath.Join(dir, "up"), err
}

// running are the "up" whose processes still run, by their folders. A file that cannot be
// read, or is damaged, says nothing.
func (c *config) running() (all []discovery) {
	dir, err := c.discoveryDir()
	if err != nil {
		return nil
	}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		var d discovery
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err == nil && json.Unmarshal(data, &d) == nil && d.URL != "" && d.PID > 0 && c.env.alive(d.PID) {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(x, y discovery) int { return cmp.Compare(x.Data, y.Data) })
	return all
}

// discover returns the running "up" that a client without an address uses: the only one, or
// the only one in whose folder this account has saved before.
func (c *config) discover() (d discovery, ok bool) {
	all := c.running()
	if len(all) > 1 {
		all = slices.DeleteFunc(all, func(d discovery) bool { return !c.known(d.Data).Used })
	}
	if len(all) != 1 {
		return d, false
	}
	return all[0], true
}

// noServer is the error of a command that knows no server: none runs, or several do and none
// of them is the obvious one.
func (a *app) noServer(otherwise error) error {
	all := a.config.running()
	if len(all) < 2 {
		return otherwise
	}
	return a.failHint("several-servers", nil, a.t("hint.several-up"), "error.several-up", "List", listOf(all))
}

// listOf names several "up" in a sentence.
func listOf(all []discovery) string {
	var names []string
	for _, d := range all {
		names = append(names, d.URL+" ("+quotePath(d.Data)+")")
	}
	return strings.Join(names, ", ")
}

// tellChoice says which of several "up" a command has found.
func (a *app) tellChoice(url string) {
	all := a.config.running()
	chosen := slices.IndexFunc(all, func(d discovery) bool { return d.URL == url })
	if len(all) < 2 || chosen < 0 {
		return
	}
	d := all[chosen]
	a.info(a.t("console.chosen-up", "Folder", quotePath(d.Data), "URL", d.URL,
		"Others", listOf(slices.Delete(all, chosen, chosen+1))))
}

// announce writes the discovery file. withdraw removes it, unless another "up" on the same
// folder has replaced it.
func (c *config) announce(d discovery) (withdraw func() error, err error) {
	dir, err := c.discoveryDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, fileOf(resolved(d.Data)))
	data, err := json.Marshal(d)
	if err == nil {
		err = writePrivate(path, append(data, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("write the address for clients of this host: %w", err)
	}
	return func() error {
		now, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		var last discovery
		if err == nil && json.Unmarshal(now, &last) == nil && last != d {
			return nil
		}
		return errors.Join(err, os.Remove(path))
	}, nil
}
