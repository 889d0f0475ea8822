package client_test

import (
	"context"
	"errors"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"servidor-backup/bus"
	"servidor-backup/bus/embedded"
	"servidor-backup/client"
	"servidor-backup/coordinator"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
)

// startSystem starts a server, a coordinator and a storage node for an example, and makes files in
// a temporary folder, each with its name as the content. stop ends and removes all of that.
func startSystem(files ...string) (server, dir string, stop func()) {
	dir = must(os.MkdirTemp("", "example"))
	for _, name := range files {
		path := filepath.Join(dir, name)
		try(os.MkdirAll(filepath.Dir(path), 0o755))
		try(os.WriteFile(path, []byte("content of "+name), 0o644))
	}
	ctx := context.Background()
	srv := must(embedded.Start(embedded.Options{Dir: filepath.Join(dir, "server"), Listen: "127.0.0.1:0"}))
	nc := must(bus.Connect(ctx, bus.ConnOptions{URL: srv.URL(), Name: "example"}))
	coord := must(coordinator.Start(ctx, nc, coordinator.Options{}))
	store := must(storage.Open(filepath.Join(dir, "storage"), storage.Options{}))
	nd := must(node.Start(ctx, nc, store, node.Options{Name: "node", Weight: 1}))
	return srv.URL(), dir, func() {
		try(errors.Join(nd.Stop(), store.Close(), coord.Stop()))
		nc.Close()
		try(errors.Join(srv.Shutdown(), os.RemoveAll(dir)))
	}
}

// connectAndSave starts a system with files, connects to it, and saves each top folder as a record.
func connectAndSave(files ...string) (c *client.Client, dir string, stop func()) {
	server, dir, stopSystem := startSystem(files...)
	ctx := context.Background()
	c = must(client.Connect(ctx, client.Options{Server: server, Nickname: "ana", KeyFile: filepath.Join(dir, "ana.key")}))
	tops := map[string]bool{}
	for _, name := range files {
		top, _, _ := strings.Cut(name, "/")
		tops[top] = true
	}
	for _, top := range slices.Sorted(maps.Keys(tops)) {
		must(c.Backup(ctx, client.BackupOptions{Paths: []string{filepath.Join(dir, top)}}))
	}
	return c, dir, func() {
		c.Close()
		stopSystem()
	}
}

func must[T any](v T, err error) T {
	try(err)
	return v
}

func try(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
