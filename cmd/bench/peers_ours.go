package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// ourSystem is our system: "backup up", which runs NATS server, coordinator and one node
// in one process, and further nodes in processes of their own.
type ourSystem struct {
	*site
	nodes int
	// dataOnFurtherNodes gives the further nodes such a weight that they get nearly all data.
	dataOnFurtherNodes bool

	// Files for the CPU profiles of a phase; "" for none.
	serverProfile, clientProfile string
}

func ours(nodes int) func(*site) system {
	return func(s *site) system {
		s.set("BACKUP_NICKNAME", "bench")
		return &ourSystem{site: s, nodes: nodes}
	}
}

func (o *ourSystem) create(context.Context) error { return nil } // "backup up" makes it

func (o *ourSystem) serve(ctx context.Context) error {
	// The flag for profiles is hidden. Without it the command line is one that people use.
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
		if o.dataOnFurtherNodes {
			// The weight of the first node is the size of its disk in GiB.
			argv = append(argv, "--weight", "100000000")
		}
		if _, err := o.startReady(ctx, nil, argv...); err != nil {
			return err
		}
	}
	return nil
}

// client returns a command line of the client.
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
			var result struct{ Sent *int64 }
			if json.Unmarshal(line, &result) == nil && result.Sent != nil {
				return *result.Sent
			}
		}
		return -1
	}}
}

func (o *ourSystem) restore(to string) job {
	name := filepath.Base(o.src)
	return job{argv: o.client("download", "--json", name, "--to", to), dir: to, tree: filepath.Join(to, name)}
}
