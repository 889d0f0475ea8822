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

// A peer is a way to back up files: our system or another program.
type peer struct {
	name   string
	what   string // description for the report
	needs  []string
	copies bool // copies everything each time: only "first" and "restore" are measured
	setUp  func(*site) system
}

// A system is a peer at a site. The order of calls is: create once, then serve before
// each half of a round, and jobs between serve and the stop of the site.
type system interface {
	create(context.Context) error // makes a fresh repository
	serve(context.Context) error  // starts the servers, if the peer has any
	backup() job                  // backs up the site's src
	restore(to string) job        // restores the last backup into the empty folder to
}

// peers lists all peers in the order of reports: our system, plain copies, programs with
// a server, programs with a local repository.
var peers = []peer{
	{"backup", "our system: one process with NATS server, coordinator and node", []string{"backup"}, false, ours(1)},
	{"backup-2nodes", "our system, with a second node in a process of its own", []string{"backup"}, false, ours(2)},
	{"backup-4nodes", "our system, with three more nodes in processes of their own", []string{"backup"}, false, ours(4)},
	{"cp+sync", "cp -a and a sync of the file system, measured together", []string{"sh", "cp", "sync"}, true, newCopy},
	{"tar+zstd", "tar through zstd -1 and a sync, measured together", []string{"sh", "tar", "zstd", "sync"}, true, newArchive},
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

// programs maps names of programs to absolute paths.
type programs map[string]string

// variables maps names of programs to environment variables that give their paths.
var variables = map[string]string{
	"backup": "BACKUP", "restic": "RESTIC", "rest-server": "REST_SERVER",
	"kopia": "KOPIA", "borg": "BORG", "rclone": "RCLONE",
}

// findPrograms finds the programs of all peers. The result omits programs that are not
// installed. A variable with a wrong path is an error.
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

// findProgram returns the absolute path of a program, or "" if it is not installed.
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

// missing returns the programs that the peer needs and that were not found.
func (p peer) missing(found programs) []string {
	var names []string
	for _, name := range p.needs {
		if found[name] == "" {
			names = append(names, name)
		}
	}
	return names
}

// choosePeers returns the peers with these names, or all peers if names is empty. It
// leaves out peers whose programs are missing, and returns their names with the reason.
// Names that do not exist are an error, and so is an empty result.
func choosePeers(names []string, found programs) (chosen []peer, leftOut []string, err error) {
	for _, name := range names {
		if !slices.Contains(peerNames(), name) {
			return nil, nil, fmt.Errorf("no peer is called %q; choose from %s", name, strings.Join(peerNames(), ", "))
		}
	}
	for _, p := range peers {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		if missing := p.missing(found); len(missing) > 0 {
			leftOut = append(leftOut, fmt.Sprintf("%s (no %s)", p.name, strings.Join(missing, ", no ")))
			continue
		}
		chosen = append(chosen, p)
	}
	if len(chosen) == 0 {
		return nil, nil, fmt.Errorf("no peer can be measured: %s", strings.Join(leftOut, ", "))
	}
	return chosen, leftOut, nil
}

// versions returns the versions that the programs of the peers print, sorted by program.
func versions(chosen []peer, found programs) []string {
	versionArgs := map[string][]string{"cp": {"--version"}, "tar": {"--version"}, "zstd": {"--version"}, "rest-server": {"--version"},
		"kopia": {"--version"}, "borg": {"--version"}, "restic": {"version"}, "rclone": {"version"}, "backup": {"version"}}
	texts := map[string]string{}
	for _, p := range chosen {
		for _, name := range p.needs {
			if args, known := versionArgs[name]; known {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				out, err := exec.CommandContext(ctx, found[name], args...).Output()
				cancel()
				first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
				if err != nil {
					first = err.Error()
				}
				texts[name] = name + ": " + first
			}
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		all = append(all, texts[name])
	}
	return all
}

// listPeers prints all peers, and the programs that they miss on this machine.
func listPeers(w io.Writer) {
	found, err := findPrograms()
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	for _, p := range peers {
		state := "installed"
		if missing := p.missing(found); len(missing) > 0 {
			state = "no " + strings.Join(missing, ", no ")
		}
		fmt.Fprintf(w, "%-20s %-62s %s\n", p.name, p.what, state)
	}
}
