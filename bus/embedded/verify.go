package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"
)

// The NATS server takes a file that it cannot read for data that is not there: it drops the
// stream, removes its folder, or cuts the file off at the first bad byte, and starts. So
// everything below the JetStream folder is read before the server opens it, with the checks
// that the server makes, and what it would throw away is an error that names the file.

// ErrUnreadable is returned by [Start] for a directory whose streams cannot be read, are damaged
// or are missing.
var ErrUnreadable = errors.New("the NATS server's data cannot be read")

// errDamaged is the error for files that can be read, but do not say what they should.
var errDamaged = errors.New("damaged")

// The names that the NATS server gives to folders and files.
const (
	streamsDir = "streams"
	messageDir = "msgs"
	blockExt   = ".blk"
)

// stream is what a stream's folder holds.
type stream struct {
	dir    string // its folder
	name   string
	config struct {
		MaxAge   int64 `json:"max_age"`
		Replicas int   `json:"num_replicas"`
	}
	last     uint64 // the highest number of a message
	messages bool   // some block holds a message
}

// keeps reports whether the stream never loses its last message by itself: no message lapses,
// and no other server of a cluster can have the stream start over.
func (s *stream) keeps() bool { return s.config.MaxAge == 0 && s.config.Replicas <= 1 }

// inspect reads every file below the JetStream folder of dir, and checks the streams. known
// are the streams that must be there.
func inspect(dir string, known record) ([]stream, error) {
	var streams []stream
	var files fileReader
	err := eachStream(dir, func(path string) error {
		s, err := inspectStream(path, known, &files)
		streams = append(streams, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	for name := range known {
		if !slices.ContainsFunc(streams, func(s stream) bool { return s.name == name }) {
			return nil, fmt.Errorf("the stream %s is missing in %s", name, filepath.Join(dir, server.JetStreamStoreDir))
		}
	}
	return streams, readAll(filepath.Join(dir, server.JetStreamStoreDir), &files)
}

// eachStream calls visit with the folder of every stream.
func eachStream(dir string, visit func(path string) error) error {
	root := filepath.Join(dir, server.JetStreamStoreDir)
	accounts, err := readDir(root)
	if err != nil {
		return err
	}
	for _, account := range accounts {
		path := filepath.Join(root, account.Name(), streamsDir)
		if !account.IsDir() {
			continue
		}
		streams, err := readDir(path)
		if err != nil {
			return err
		}
		for _, s := range streams {
			// The server renames a stream's folder to .NAME before it deletes the stream.
			if !s.IsDir() || strings.HasPrefix(s.Name(), ".") {
				continue
			}
			if err := visit(filepath.Join(path, s.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// readDir is os.ReadDir, but a folder that does not exist is empty.
func readDir(path string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

// readAll reads every file below root that inspectStream has not read. The files are opened
// for writing too, as the server will open them.
func readAll(root string, files *fileReader) error {
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || filepath.Ext(path) == blockExt && filepath.Base(filepath.Dir(path)) == messageDir &&
			filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(path)))) == streamsDir {
			return err
		}
		_, err = files.read(path)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// fileReader reads one file after the other into the same memory.
type fileReader struct{ content bytes.Buffer }

// read is os.ReadFile for a file that can be written, too. The result is valid until the next call.
func (r *fileReader) read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	r.content.Reset()
	if info, err := f.Stat(); err == nil && info.Size() < maxSize {
		r.content.Grow(int(info.Size()) + bytes.MinRead)
	}
	_, err = r.content.ReadFrom(f)
	return r.content.Bytes(), errors.Join(err, f.Close())
}

// inspectStream checks the stream in the folder path.
func inspectStream(path string, known record, files *fileReader) (stream, error) {
	s := stream{dir: path, name: filepath.Base(path)}
	must, isKnown := known[s.name]
	blocks, err := blocksOf(path)
	if err != nil {
		return s, err
	}
	var end tail
	for i, b := range blocks {
		content, err := files.read(b.path)
		if err != nil {
			return s, err
		}
		end = s.addBlock(b, content)
		// The server may have been killed while it wrote the last message, which it has not
		// acknowledged then. It cuts off the beginning of such a message.
		if end.bad && (i < len(blocks)-1 || end.more || end.offset == 0 && !s.messages && isKnown) {
			return s, fmt.Errorf("%s is %w at byte %d", b.path, errDamaged, end.offset)
		}
	}
	if err := s.readMeta(files); err != nil {
		if isKnown || s.messages || !errors.Is(err, errDamaged) {
			return s, err
		}
		return s, nil // the server was killed while it made the stream
	}
	if s.keeps() && s.last < must.Last {
		where := filepath.Join(path, messageDir)
		if len(blocks) > 0 {
			where = blocks[len(blocks)-1].path
		}
		return s, fmt.Errorf("%s ends with message %d of the stream %s, which had message %d", where, s.last, s.name, must.Last)
	}
	return s, nil
}

// readMeta reads the stream's configuration.
func (s *stream) readMeta(files *fileReader) error {
	path := filepath.Join(s.dir, server.JetStreamMetaFile)
	b, err := files.read(path)
	meta := bytes.Clone(b)
	if err == nil {
		var sum []byte
		sum, err = files.read(filepath.Join(s.dir, server.JetStreamMetaFileSum))
		if err == nil && string(sum) != hex.EncodeToString(newHash(s.name)(meta)) {
			err = fmt.Errorf("%s is %w: its checksum does not match", path, errDamaged)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("the stream is %w: %w", errDamaged, err)
	}
	if err == nil {
		if err = json.Unmarshal(meta, &s.config); err != nil {
			err = fmt.Errorf("%s is %w: %w", path, errDamaged, err)
		}
	}
	return err
}

// newHash returns the server's checksum under a key. The result is valid until the next call.
func newHash(key string) func(parts ...[]byte) []byte {
	k := sha256.Sum256([]byte(key))
	h, _ := highwayhash.New64(k[:]) // fails only for keys of another size
	sum := make([]byte, 0, sumSize)
	return func(parts ...[]byte) []byte {
		h.Reset()
		for _, p := range parts {
			_, _ = h.Write(p)
		}
		return h.Sum(sum[:0])
	}
}

// block is a file of messages.
type block struct {
	path  string
	index int
}

// blocksOf lists the blocks of the stream in the folder path, in the order of their messages.
func blocksOf(path string) (blocks []block, err error) {
	files, err := readDir(filepath.Join(path, messageDir))
	for _, f := range files {
		var index int
		if n, _ := fmt.Sscanf(f.Name(), "%d"+blockExt, &index); n == 1 && filepath.Ext(f.Name()) == blockExt {
			blocks = append(blocks, block{filepath.Join(path, messageDir, f.Name()), index})
		}
	}
	slices.SortFunc(blocks, func(a, b block) int { return a.index - b.index })
	return blocks, err
}

// tail is the end of a block, behind its last good message.
type tail struct {
	bad    bool // something follows that is no message
	more   bool // behind which there is a good message again
	offset int
}

// addBlock notes the messages of a block, and returns how it ends.
func (s *stream) addBlock(b block, content []byte) tail {
	if bytes.HasPrefix(content, []byte{'c', 'm', 'p', byte(server.S2Compression)}) {
		return tail{} // an administrator has chosen compression: only the server reads that
	}
	sum := newHash(fmt.Sprintf("%s-%d", s.name, b.index))
	for at := 0; at < len(content); {
		size, number, tombstone := parseMessage(content[at:], sum)
		if size == 0 {
			end := tail{bad: true, offset: at}
			for at++; at < len(content) && !end.more; at++ {
				size, _, _ := parseMessage(content[at:], sum)
				end.more = size > 0
			}
			return end
		}
		at += size
		s.last = max(s.last, number)
		s.messages = s.messages || !tombstone
	}
	return tail{offset: len(content)}
}

// The layout of a message in a block, all numbers little endian:
//
//	4 bytes   size of all; the highest bit: the message has headers
//	8 bytes   number; the highest bit: a message that was erased, the next one: a tombstone
//	8 bytes   time
//	2 bytes   size of the subject
//	          subject; with headers 4 bytes, the size of the headers; headers; content
//	8 bytes   checksum
const (
	headSize      = 22
	sumSize       = 8
	maxSize       = 32 << 20
	hasHeadersBit = 1 << 31
	erasedBit     = 1 << 63
	tombstoneBit  = 1 << 62
)

// parseMessage parses the message at the start of b. The size is 0 if there is none.
func parseMessage(b []byte, sum func(parts ...[]byte) []byte) (size int, number uint64, tombstone bool) {
	if len(b) < headSize+sumSize {
		return 0, 0, false
	}
	le := binary.LittleEndian
	sizeBits := le.Uint32(b)
	subject := int(le.Uint16(b[20:]))
	size = int(sizeBits &^ hasHeadersBit)
	body := headSize + subject
	if sizeBits&hasHeadersBit != 0 {
		body += 4
	}
	if size > maxSize || size > len(b) || body > size-sumSize {
		return 0, 0, false
	}
	if !bytes.Equal(sum(b[4:20], b[headSize:headSize+subject], b[body:size-sumSize]), b[size-sumSize:size]) {
		return 0, 0, false
	}
	number = le.Uint64(b[4:])
	return size, number &^ (erasedBit | tombstoneBit), number&tombstoneBit != 0
}
