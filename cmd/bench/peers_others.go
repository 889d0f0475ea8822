package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A shellPeer copies everything with a line of shell. $1 is the source and $2 the
// destination.
type shellPeer struct {
	*site
	backupLine, restoreLine string
}

func (p *shellPeer) create(context.Context) error { return nil }
func (p *shellPeer) serve(context.Context) error  { return nil }

func (p *shellPeer) backup() job {
	return job{argv: []string{p.program("sh"), "-c", p.backupLine, "sh", p.src, p.repo}, dir: p.home}
}

func (p *shellPeer) restore(to string) job {
	return job{argv: []string{p.program("sh"), "-c", p.restoreLine, "sh", p.repo, to}, dir: to, tree: to}
}

// newCopy returns a peer that copies with cp.
func newCopy(s *site) system {
	line := `cp -a "$1/." "$2" && sync -f "$2"`
	return &shellPeer{s, line, line}
}

// newArchive returns a peer that writes an archive with tar and zstd.
func newArchive(s *site) system {
	return &shellPeer{s,
		`tar -C "$1" -cf - . | zstd -1 -q -o "$2/all.tar.zst" && sync -f "$2"`,
		`zstd -d -c -q "$1/all.tar.zst" | tar -C "$2" -xpf - && sync -f "$2"`}
}

// restic is the program restic, with a local repository or with a server.
type restic struct {
	*site
	server func(addr string) []string // command line of the server; nil for no server
}

func newRestic(s *site, server func(addr string) []string) *restic {
	s.set("RESTIC_PASSWORD", "bench")
	s.set("RESTIC_REPOSITORY", s.repo)
	return &restic{s, server}
}

func resticLocal(s *site) system { return newRestic(s, nil) }

func resticREST(s *site) system {
	return newRestic(s, func(addr string) []string {
		return []string{s.program("rest-server"), "--no-auth", "--listen", addr, "--path", s.repo}
	})
}

func resticRclone(s *site) system {
	return newRestic(s, func(addr string) []string {
		return []string{s.program("rclone"), "serve", "restic", "--addr", addr, s.repo}
	})
}

// create makes the repository without the server, which later serves the same files.
func (p *restic) create(ctx context.Context) error {
	_, err := p.step(ctx, p.program("restic"), "init")
	return err
}

func (p *restic) serve(ctx context.Context) error {
	if p.server == nil {
		return nil
	}
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	p.set("RESTIC_REPOSITORY", "rest:http://"+addr+"/")
	return p.startListening(ctx, addr, p.server(addr)...)
}

func (p *restic) backup() job {
	return job{argv: []string{p.program("restic"), "backup", "--json", "--quiet", "."}, dir: p.src, sent: func(stdout []byte) int64 {
		for _, line := range jsonLines(stdout) {
			var summary struct {
				Packed *int64 `json:"data_added_packed"` // missing in old versions
			}
			if json.Unmarshal(line, &summary) == nil && summary.Packed != nil {
				return *summary.Packed
			}
		}
		return -1
	}}
}

func (p *restic) restore(to string) job {
	return job{argv: []string{p.program("restic"), "restore", "--quiet", "latest", "--target", to}, dir: to, tree: to}
}

// kopia is the program kopia, with a local repository or with its server.
type kopia struct {
	*site
	server bool
}

// The user of kopia's server.
const kopiaUser, kopiaHost, kopiaUserPassword = "bench", "client", "bench-user"

func newKopia(s *site, server bool) system {
	s.set("KOPIA_PASSWORD", "bench")
	s.set("KOPIA_CHECK_FOR_UPDATES", "false")
	return &kopia{s, server}
}

func kopiaLocal(s *site) system  { return newKopia(s, false) }
func kopiaServer(s *site) system { return newKopia(s, true) }

// command returns a command line of kopia with the settings of role: "client" or "server".
func (p *kopia) command(role string, args ...string) []string {
	return append([]string{p.program("kopia"), "--config-file=" + filepath.Join(p.home, role+".config")}, args...)
}

func (p *kopia) create(ctx context.Context) error {
	role := "client"
	if p.server {
		role = "server"
	}
	if _, err := p.step(ctx, p.command(role, "repository", "create", "filesystem", "--path="+p.repo)...); err != nil || !p.server {
		return err
	}
	_, err := p.step(ctx, p.command(role, "server", "user", "add", kopiaUser+"@"+kopiaHost, "--user-password="+kopiaUserPassword)...)
	return err
}

func (p *kopia) serve(ctx context.Context) error {
	if !p.server {
		return nil
	}
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	cert := filepath.Join(p.home, "cert.pem")
	argv := p.command("server", "server", "start", "--address="+addr, "--tls-cert-file="+cert,
		"--tls-key-file="+filepath.Join(p.home, "key.pem"), "--server-control-password=bench-control")
	if _, err := os.Stat(cert); errors.Is(err, os.ErrNotExist) {
		argv = append(argv, "--tls-generate-cert")
	}
	p.set("KOPIA_PASSWORD", "bench")
	if err := p.startListening(ctx, addr, argv...); err != nil {
		return err
	}
	p.set("KOPIA_PASSWORD", kopiaUserPassword)
	// The server listens before it has a certificate, and before it can serve clients.
	return retry(ctx, func() error {
		print, err := fingerprint(cert)
		if err != nil {
			return err
		}
		_, err = p.step(ctx, p.command("client", "repository", "connect", "server", "--url=https://"+addr,
			"--server-cert-fingerprint="+print, "--override-username="+kopiaUser, "--override-hostname="+kopiaHost)...)
		return err
	})
}

// fingerprint returns the SHA-256 of a PEM certificate in hex.
func fingerprint(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", fmt.Errorf("no certificate in %s", file)
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:]), nil
}

func (p *kopia) backup() job {
	return job{argv: p.command("client", "snapshot", "create", "--no-progress", p.src), dir: p.home}
}

func (p *kopia) restore(to string) job {
	return job{argv: p.command("client", "restore", "--no-progress", p.src, to, "--snapshot-time=latest"), dir: to, tree: to}
}

// borg is the program borg with a local repository. Only borg itself can start its server,
// over SSH, so that is not measured.
type borg struct {
	*site
	archives int
}

func borgLocal(s *site) system {
	s.set("BORG_REPO", s.repo)
	s.set("BORG_BASE_DIR", s.home)
	s.set("BORG_PASSPHRASE", "bench")
	return &borg{site: s}
}

func (p *borg) create(ctx context.Context) error {
	_, err := p.step(ctx, p.program("borg"), "init", "--encryption", "repokey-blake2")
	return err
}

func (p *borg) serve(context.Context) error { return nil }

func (p *borg) backup() job {
	p.archives++
	return job{argv: []string{p.program("borg"), "create", fmt.Sprintf("::backup-%d", p.archives), "."}, dir: p.src}
}

func (p *borg) restore(to string) job {
	return job{argv: []string{p.program("borg"), "extract", fmt.Sprintf("::backup-%d", p.archives)}, dir: to, tree: to}
}
