package client_test

import (
	"path/filepath"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/client"
	"servidor-backup/client/treetest"
)

// A server of the same process is reached without a socket, so it need not listen.
func TestAServerOfTheSameProcess(t *testing.T) {
	server, err := embedded.Start(embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, server.Shutdown()) })
	opt := client.Options{InProcess: server, Nickname: "ana", KeyFile: filepath.Join(t.TempDir(), "ana.key"), Host: "here"}
	alone, err := client.Connect(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	if _, err := alone.Nodes(bustest.Context(t)); err == nil || err.Error() != client.ErrNoCoordinator.Error()+" in this process" {
		t.Errorf("without a coordinator: %v", err)
	}

	w := newWorld(t, 1)
	c := w.client(func(o *client.Options) { o.Server, o.InProcess = "", w.server })
	src, to := treetest.New(t, 1, treetest.Small), treetest.TempDir(t)
	save(t, c, client.BackupOptions{Paths: []string{src}, Name: "things"})
	res := restore(t, c, client.RestoreOptions{ID: "things", To: to})
	same(t, src, filepath.Join(to, res.Top[0]))
}
