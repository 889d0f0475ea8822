package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// discovery is the file that a running "up" writes for clients of the same user on the same
// host, so that they need no settings.
type discovery struct {
	URL  string `json:"url"`
	PID  int    `json:"pid"`
	Data string `json:"data"` // absolute
}

func (c *config) discoveryPath() (string, error) {
	dir, err := c.stateDir()
	return filepath.Join(dir, "up.json"), err
}

// discover returns the discovery file if the process that wrote it still runs. Any defect of
// the file means that nothing was discovered.
func (c *config) discover() (d discovery, ok bool) {
	path, err := c.discoveryPath()
	if err != nil {
		return d, false
	}
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &d) != nil {
		return d, false
	}
	return d, d.URL != "" && d.PID > 0 && c.env.alive(d.PID)
}

// announce writes the discovery file. Clients find the "up" that announced last. withdraw
// removes the file unless another "up" has replaced it.
func (c *config) announce(d discovery) (withdraw func() error, err error) {
	path, err := c.discoveryPath()
	if err != nil {
		return nil, err
	}
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
