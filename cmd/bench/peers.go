package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A peer is a way to save files, of ours or of others.
type peer struct {
	name   string
	what   string // for the report
	needs  []string
	copies bool // it always saves everything: only "first" and "restore" tell something
	at     func(*site) system
}

// system is a peer at a site. Each method is called in its turn: create once,
// serve before each half of a round, and jobs between serve and the site's stop.
type system interface {
	create(context.Context) error // makes a fresh repository
	serve(context.Context) error  // starts the servers, if there are any
	backup() job                  // saves the site's src
	restore(to string) job        // brings the last backup back into an empty folder
}

// peers are all, in the order of reports: ours, what copying costs, with servers,
// without.
var peers = []peer{
	{"backup", "ours: one process with NATS server, coordinator and node", []string{"backup"}, false, ours(1)},
	{"backup-2nodes", "ours, with a second node in a process of its own", []string{"backup"}, false, ours(2)},
	{"backup-4nodes", "ours, with three more nodes in processes of their own", []string{"backup"}, false, ours(4)},
	{"cp+sync", "cp -a, then a sync of the file system, in one time", []string{"sh", "cp", "sync"}, true, copied},
	{"tar+zstd", "tar through zstd -1, then a sync, in one time", []string{"sh", "tar", "zstd", "sync"}, true, packed},
	{"restic+rest-server", "restic to rest-server over HTTP", []string{"restic", "rest-server"}, false, resticREST},
	{"restic+rclone", "restic to rclone serve restic over HTTP", []string{"restic", "rclone"}, false, resticRclone},
	{"kopia+server", "kopia to its server over TLS", []string{"kopia"}, false, kopiaServer},
	{"restic", "restic, local repository", []string{"restic"}, false, resticLocal},
	{"kopia", "kopia, local repository", []string{"kopia"}, false, kopiaLocal},
	{"borg", "borg, local repository, repokey-blake2", []string{"borg"}, false, borgLocal},
}

func peerNames() []string {
	var names []string
	for _, p := range peers {
		names = append(names, p.name)
	}
	return names
}

// programs are the paths of programs, by name.
type programs map[string]string

// variables name the programs that are looked for in the environment first.
var variables = map[string]string{
	"backup": "BACKUP", "restic": "RESTIC", "rest-server": "REST_SERVER",
	"kopia": "KOPIA", "borg": "BORG", "rclone": "RCLONE",
}

// findPrograms finds what any peer needs. What is not there is left out; a
// variable that leads nowhere is an error.
func findPrograms() (programs, error) {
	found := programs{}
	for _, p := range peers {
		for _, name := range p.needs {
			path, err := findProgram(name)
			if err != nil {
				return nil, err
			}
			if path != "" {
				found[name] = path
			}
		}
	}
	return found, nil
}

// findProgram is the absolute path of a program, "" when there is none.
func findProgram(name string) (string, error) {
	if value := os.Getenv(variables[name]); variables[name] != "" && value != "" {
		path, err := exec.LookPath(value)
		if err != nil {
			return "", fmt.Errorf("%s: %w", variables[name], err)
		}
		return filepath.Abs(path)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", nil // not installed
	}
	return filepath.Abs(path)
}

// missing are the programs that a peer needs and that are not there.
func (p peer) missing(found programs) []string {
	var names []string
	for _, name := range p.needs {
		if found[name] == "" {
			names = append(names, name)
		}
	}
	return names
}

// choosePeers are the peers of these names, or all that can be had. It also says
// why others cannot: what is asked for by name must be there.
func choosePeers(names []string, found programs) (chosen []peer, left []string, err error) {
	for _, name := range names {
		if !slices.Contains(peerNames(), name) {
			return nil, nil, fmt.Errorf("no peer %q: there are %s", name, strings.Join(peerNames(), ", "))
		}
	}
	for _, p := range peers {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		if missing := p.missing(found); len(missing) > 0 {
			left = append(left, fmt.Sprintf("%s (no %s)", p.name, strings.Join(missing, ", no ")))
			continue
		}
		chosen = append(chosen, p)
	}
	if len(chosen) == 0 {
		return nil, nil, fmt.Errorf("no peer can be measured: %s", strings.Join(left, ", "))
	}
	return chosen, left, nil
}

// versions are what the peers' programs say that they are, in the order of names.
func versions(chosen []peer, found programs) []string {
	ask := map[string][]string{"cp": {"--version"}, "tar": {"--version"}, "zstd": {"--version"}, "rest-server": {"--version"},
		"kopia": {"--version"}, "borg": {"--version"}, "restic": {"version"}, "rclone": {"version"}, "backup": {"version"}}
	say := map[string]string{}
	for _, p := range chosen {
		for _, name := range p.needs {
			if args, known := ask[name]; known {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				out, err := exec.CommandContext(ctx, found[name], args...).Output()
				cancel()
				first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
				if err != nil {
					first = err.Error()
				}
				say[name] = name + ": " + first
			}
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(say)) {
		all = append(all, say[name])
	}
	return all
}

// listPeers says who can be measured here.
func listPeers(w io.Writer) {
	found, err := findPrograms()
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	for _, p := range peers {
		state := "here"
		if missing := p.missing(found); len(missing) > 0 {
			state = "no " + strings.Join(missing, ", no ")
		}
		fmt.Fprintf(w, "%-20s %-60s %s\n", p.name, p.what, state)
	}
}
