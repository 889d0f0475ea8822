//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// natsBinary builds the unmodified NATS server of the version in go.mod. Later test runs reuse
// the file, which is named after the version.
var natsBinary = sync.OnceValues(func() (path string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	path = filepath.Join(cache, "servidor-backup-test", "nats-server-"+server.VERSION)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	building := fmt.Sprintf("%s.%d", path, os.Getpid()) // another test run may build it at the same time
	out, err := exec.Command("go", "build", "-o", building, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build nats-server: %w: %s", err, out)
	}
	return path, os.Rename(building, path)
})

// natsServer starts an unmodified nats-server with JetStream, as an administrator may already have
// one.
func (w *world) natsServer() (p *process, url string) {
	w.Helper()
	ports := w.dir()
	p = w.launchNATS("-p", "-1", "--ports_file_dir", ports)
	w.eventually("the nats-server writes its address", func() bool {
		url = readPorts(w.T, ports)
		return url != ""
	})
	return p, url
}

func (w *world) launchNATS(args ...string) *process {
	w.Helper()
	exe, err := natsBinary()
	if err != nil {
		w.Fatal(err)
	}
	args = append([]string{"-js", "-sd", w.dir(), "-a", "127.0.0.1"}, args...)
	return w.launch(w.prepare(exe, args...))
}

// readPorts is the address in a nats-server's ports file, "" until the file exists.
func readPorts(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.ports"))
	if err != nil || len(files) == 0 {
		return ""
	}
	b, err := os.ReadFile(files[0])
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(b)), "}") {
		return ""
	}
	return parse[struct{ Nats []string }](t, string(b)).Nats[0]
}
