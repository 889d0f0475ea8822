package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"servidor-backup/client"
)

// Save a folder and list what was saved.
func Example() {
	server, dir, stop := startSystem("photos/2024/beach.jpg", "photos/cat.jpg")
	defer stop()
	ctx := context.Background()

	c, err := client.Connect(ctx, client.Options{
		Server:   server, // nats://HOST:PORT
		Nickname: "ana",
		KeyFile:  filepath.Join(dir, "ana.key"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	saved, err := c.Backup(ctx, client.BackupOptions{
		Paths:   []string{filepath.Join(dir, "photos")},
		Exclude: []string{"*.tmp"},
		Warn:    func(path string, err error) { log.Printf("%s is not saved: %v", path, err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	if c.KeyCreated() {
		fmt.Println("Copy ana.key to a safe place: nothing can be restored without it.")
	}
	fmt.Printf("%s: %d files\n", saved.Version.ID, saved.Files)

	err = c.Tree(ctx, saved.Version.ID, "", func(e *client.Entry) error {
		fmt.Println(e.Type, e.Path)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// Copy ana.key to a safe place: nothing can be restored without it.
	// photos@1: 2 files
	// dir .
	// dir 2024
	// file 2024/beach.jpg
	// file cat.jpg
}

// Restore one folder of the newest version, show the progress, and stop on an interrupt.
func ExampleClient_Restore() {
	c, dir, stop := connectAndSave("photos/2024/beach.jpg", "photos/cat.jpg")
	defer stop()

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	progress := new(client.Progress)
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				log.Printf("%d bytes restored", progress.Bytes.Load())
			}
		}
	}()

	to := filepath.Join(dir, "restored")
	res, err := c.Restore(ctx, client.RestoreOptions{
		ID:       "photos",
		Inside:   []string{"2024"},
		To:       to,
		Progress: progress,
		Warn:     func(path string, err error) { log.Printf("%s is not restored: %v", path, err) },
	})
	switch {
	case errors.Is(err, context.Canceled):
		log.Fatal("interrupted: complete files stay, incomplete ones were removed")
	case errors.Is(err, os.ErrExist):
		log.Fatal("there is a folder of that name: ", err)
	case err != nil:
		log.Fatal(err)
	}
	fmt.Printf("%d file of %s is in %v\n", res.Files, res.Version.ID, res.Top)
	content, err := os.ReadFile(filepath.Join(to, "2024", "beach.jpg"))
	fmt.Printf("%s (%v)\n", content, err)
	// Output:
	// 1 file of photos@1 is in [2024]
	// content of photos/2024/beach.jpg (<nil>)
}

// Write one file of a version to a stream.
func ExampleClient_Cat() {
	c, _, stop := connectAndSave("photos/cat.jpg")
	defer stop()

	if _, err := c.Cat(context.Background(), "photos@1", "cat.jpg", os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output: content of photos/cat.jpg
}

// List the versions of every record.
func ExampleClient_Versions() {
	c, _, stop := connectAndSave("photos/cat.jpg", "letters/bank.txt")
	defer stop()
	ctx := context.Background()

	records, err := c.Records(ctx, client.ListOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range records {
		versions, err := c.Versions(ctx, r.Name, client.ListOptions{})
		if err != nil {
			log.Fatal(err)
		}
		for _, v := range versions {
			fmt.Println(v.ID, v.Files, filepath.Base(v.Paths[0]))
		}
	}
	// Output:
	// letters@1 1 letters
	// photos@1 1 photos
}

// Prove that everything can be restored, without restoring it: fetch and open every chunk.
func ExampleClient_Check() {
	c, _, stop := connectAndSave("photos/cat.jpg")
	defer stop()

	res, err := c.Check(context.Background(), client.CheckOptions{
		Read:  1,
		Found: func(version, path string, err error) { fmt.Println(version, path, err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d version, %d damaged\n", res.Versions, res.Damaged)
	// Output: 1 version, 0 damaged
}
