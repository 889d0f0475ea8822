package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// discovery is what a running "up" leaves for clients of the same person on the
// same host, so that they need no settings.
type discovery struct {
	URL  string `json:"url"`
	PID  int    `json:"pid"`
	Data string `json:"data"` // absolute
}

func (a *app) discoveryPath() (string, error) {
	dir, err := a.stateDir()
	return filepath.Join(dir, "up.json"), err
}

// discover is what the discovery file says, if the process that wrote it lives.
// Whatever is wrong with the file, it only means that nothing was discovered.
func (a *app) discover() (d discovery, ok bool) {
	path, err := a.discoveryPath()
	if err != nil {
		return d, false
	}
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &d) != nil {
		return d, false
	}
	return d, d.URL != "" && d.PID > 0 && a.env.alive(d.PID)
}

// announce writes the discovery file. The one who announced last is found; the
// returned function takes the file away unless another "up" has replaced it.
func (a *app) announce(d discovery) (withdraw func() error, err error) {
	path, err := a.discoveryPath()
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(d)
	if err == nil {
		err = writePrivate(path, append(data, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("telling clients of this host the address: %w", err)
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
