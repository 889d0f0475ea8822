package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// The server may fail to read a file that could be read a moment before, for example because
// the process may not open more files. Then it removes the stream's folder. So for as long as
// it recovers its streams, their files have second names in a folder of ours, from which
// removed files are brought back:
//
//  1. inspect has found everything in good order.
//  2. Every file of a stream gets a second name.
//  3. The server recovers its streams.
//  4. If each of them is there, the folder of the second names gets another name, from which
//     nothing is brought back, and is removed while the server serves. Otherwise the server ends,
//     its files are brought back, and Start fails.
//
// After a crash in between, the next start does step 4 first.

const (
	// secondNames is the folder, in the server's directory, for second names of files.
	secondNames = "recovering"
	// oldNames is the name of that folder when the streams are there.
	oldNames = "recovered"
)

// guard gives the files of the streams second names. On a file system without hard links it
// does nothing.
func guard(dir string, streams []stream) error {
	for _, s := range streams {
		err := filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			second, err := secondName(dir, path)
			if err != nil {
				return err
			}
			if e.IsDir() {
				return os.MkdirAll(second, 0o700)
			}
			if os.Link(path, second) != nil {
				return errNoLinks
			}
			return nil
		})
		if errors.Is(err, errNoLinks) {
			return dropSecondNames(dir)
		}
		if err != nil {
			return fmt.Errorf("keep the streams' files while the server starts: %w", err)
		}
	}
	return nil
}

var errNoLinks = errors.New("the file system has no hard links")

// secondName is the second name of a file below the JetStream folder.
func secondName(dir, path string) (string, error) {
	rest, err := filepath.Rel(filepath.Join(dir, server.JetStreamStoreDir), path)
	return filepath.Join(dir, secondNames, rest), err
}

// bringBack brings back the files that the server has removed, if there are second names. The
// server must have ended.
func bringBack(dir string) error {
	if err := RemoveAll(filepath.Join(dir, oldNames)); err != nil {
		return err
	}
	root := filepath.Join(dir, secondNames)
	// A stream whose folder is there was recovered, or is as it was: the server removes all of
	// a stream's files, or none.
	accounts, err := readDir(root)
	for _, account := range accounts {
		from := filepath.Join(root, account.Name(), streamsDir)
		to := filepath.Join(dir, server.JetStreamStoreDir, account.Name(), streamsDir)
		streams, err := readDir(from)
		if err == nil {
			err = os.MkdirAll(to, 0o700)
		}
		if err != nil {
			return err
		}
		for _, s := range streams {
			if err := bringBackStream(filepath.Join(from, s.Name()), filepath.Join(to, s.Name())); err != nil {
				return err
			}
		}
	}
	if err != nil {
		return err
	}
	return dropSecondNames(dir)
}

func bringBackStream(from, to string) error {
	files, err := blocksOf(to)
	if err != nil || len(files) > 0 {
		return err
	}
	if err := RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func dropSecondNames(dir string) error { return RemoveAll(filepath.Join(dir, secondNames)) }

// release ends the guard when all streams are there. It returns a function that waits until the
// second names have been removed, as far as the disk lets them be: the next start removes the rest.
func release(dir string) (wait func(), err error) {
	old := filepath.Join(dir, oldNames)
	err = os.Rename(filepath.Join(dir, secondNames), old)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil // there was no stream, or there are no hard links
	}
	if err != nil {
		return nil, err
	}
	var removing sync.WaitGroup
	removing.Go(func() { _ = RemoveAll(old) })
	return removing.Wait, nil
}

// checkRecovered checks that the server has recovered the streams.
func checkRecovered(ns *server.Server, streams []stream) error {
	info, err := ns.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return fmt.Errorf("ask the server about its streams: %w", err)
	}
	recovered := map[string]uint64{}
	for _, a := range info.AccountDetails {
		for _, s := range a.Streams {
			recovered[s.Name] = s.State.LastSeq
		}
	}
	for _, s := range streams {
		switch last, ok := recovered[s.name]; {
		case !ok:
			return fmt.Errorf("%s was not recovered", s.dir)
		case s.keeps() && last < s.last:
			return fmt.Errorf("%s was recovered up to message %d of %d", s.dir, last, s.last)
		}
	}
	return nil
}

// recoveryError adds what the server has said about its streams to an error.
func recoveryError(err error, said []string) error {
	err = fmt.Errorf("%w: %w", ErrUnreadable, err)
	if len(said) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.Join(said, "; "))
	}
	return err
}
