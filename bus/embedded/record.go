package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nats-server/v2/server"
)

// recordFile, in the server's directory and beside the JetStream folder, says as JSON which
// streams are in that folder. Without it, a stream whose folder is gone would not be missed.
const recordFile = "STREAMS"

// record has what is known of each stream, by name.
type record map[string]streamRecord

type streamRecord struct {
	// Last is the number of the stream's last message when the server last ended in good
	// order; 0 if messages may go away by themselves.
	Last uint64 `json:"last,omitempty"`
}

// readRecord reads the record of dir; an empty one if there is none.
func readRecord(dir string) (record, error) {
	path := filepath.Join(dir, recordFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	known := record{}
	if err == nil {
		if err = json.Unmarshal(b, &known); err != nil {
			err = fmt.Errorf("%s is %w: %w", path, errDamaged, err)
		}
	}
	return known, err
}

// write writes the record to dir and syncs it.
func (r record) write(dir string) error {
	b, err := json.Marshal(r)
	if err == nil {
		err = writeFile(filepath.Join(dir, recordFile), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("note which streams there are: %w", err)
	}
	return nil
}

// recordOf finds the streams of dir. With last it finds their last messages, too; the server
// must have ended then.
func recordOf(dir string, last bool) (record, error) {
	found := record{}
	var files fileReader
	err := eachStream(dir, func(path string) error {
		s := stream{dir: path, name: filepath.Base(path)}
		if _, err := os.Stat(filepath.Join(path, server.JetStreamMetaFileSum)); errors.Is(err, fs.ErrNotExist) {
			return nil // it is being made
		}
		found[s.name] = streamRecord{}
		if !last {
			return nil
		}
		if err := s.readMeta(&files); err != nil || !s.keeps() {
			return err
		}
		blocks, err := blocksOf(path)
		if err != nil {
			return err
		}
		for _, b := range slices.Backward(blocks) { // the last messages are in the last block with any
			content, err := files.read(b.path)
			if err != nil {
				return err
			}
			if s.addBlock(b, content); s.last > 0 {
				break
			}
		}
		found[s.name] = streamRecord{Last: s.last}
		return nil
	})
	return found, err
}

// Remember notes durably which streams there are now, so that the next [Start] misses one that
// is not there any more. Call it when the streams have been made.
func (s *Server) Remember() error {
	known, err := readRecord(s.dir)
	if err != nil {
		return err
	}
	found, err := recordOf(s.dir, false)
	if err != nil {
		return fmt.Errorf("note which streams there are: %w", err)
	}
	for name := range found {
		found[name] = known[name]
	}
	if maps.Equal(known, found) {
		return nil
	}
	return found.write(s.dir)
}

// rememberEnd notes where streams end, after the server has ended.
func (s *Server) rememberEnd() error {
	known, err := readRecord(s.dir)
	if err != nil {
		return err
	}
	found, err := recordOf(s.dir, !s.clustered)
	if err != nil {
		return fmt.Errorf("note where the streams end: %w", err)
	}
	if maps.Equal(known, found) {
		return nil
	}
	return found.write(s.dir)
}

// writeFile writes a file atomically and durably.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := vfs.Default.OpenDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
