package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// ourSystem is this project: "up", which is NATS server, coordinator and one
// node, and further nodes as processes of their own.
type ourSystem struct {
	*site
	nodes int
	// heavy gives next to all data to the further nodes.
	heavy bool

	// Where the profiles of a phase go, see profile.go; "" for none.
	serverProfile, clientProfile string
}

func ours(nodes int) func(*site) system {
	return func(s *site) system {
		s.set("BACKUP_NICKNAME", "bench")
		return &ourSystem{site: s, nodes: nodes}
	}
}

func (o *ourSystem) create(context.Context) error { return nil } // up does it

func (o *ourSystem) serve(ctx context.Context) error {
	// Profiles are hidden flags; without them the command line is a person's.
	var profile []string
	if o.serverProfile != "" {
		profile = []string{"--cpuprofile", o.serverProfile}
	}
	argv := append([]string{o.program("backup"), "up", "--data", filepath.Join(o.repo, "1"), "--name", "1", "--listen", "127.0.0.1:0"}, profile...)
	url, err := o.startReady(ctx, nil, argv...)
	if err != nil {
		return err
	}
	o.set("BACKUP_SERVER", url)
	for i := 2; i <= o.nodes; i++ {
		name := fmt.Sprint(i)
		argv := []string{o.program("backup"), "storage", "--data", filepath.Join(o.repo, name), "--name", name}
		if o.heavy {
			argv = append(argv, "--weight", "100000000") // the first node's is the GiB of its disk
		}
		if _, err := o.startReady(ctx, nil, argv...); err != nil {
			return err
		}
	}
	return nil
}

func (o *ourSystem) client(args ...string) []string {
	argv := append([]string{o.program("backup")}, args...)
	if o.clientProfile != "" {
		argv = append(argv, "--cpuprofile", o.clientProfile)
	}
	return argv
}

func (o *ourSystem) backup() job {
	return job{argv: o.client("transmit", "--json", o.src), dir: o.home, sent: func(stdout []byte) int64 {
		for _, line := range jsonLines(stdout) {
			var said struct{ Sent *int64 }
			if json.Unmarshal(line, &said) == nil && said.Sent != nil {
				return *said.Sent
			}
		}
		return -1
	}}
}

func (o *ourSystem) restore(to string) job {
	name := filepath.Base(o.src)
	return job{argv: o.client("download", "--json", name, "--to", to), dir: to, tree: filepath.Join(to, name)}
}
