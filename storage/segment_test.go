package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"servidor-backup/schemas"
)

// goldenSegment is a whole small segment, made from constants.
func goldenSegment() (segment []byte, chunk schemas.Chunk) {
	h := fileHeader{magic: segmentMagic, number: 7, node: "abcdefgh23456723", created: time.Unix(1_700_000_000, 0)}
	for i := range h.salt {
		h.salt[i] = byte(i)
	}
	chunk = schemas.Chunk{
		ID: schemas.ChunkID{1, 2, 3}, Kind: schemas.Tree,
		Trees: []schemas.ChunkID{{4}}, Data: []schemas.ChunkID{{5}, {6}}, Content: []byte("sealed"),
	}
	chunk.Sum = chunk.Checksum()
	c := newCodec(h.salt)
	b := h.encode()
	here := func() location { return location{h.number, int64(len(b))} }
	batch := int64(len(b))
	b = c.appendChunk(b, here(), &recordHeader{k: 1, time: 1_700_000_001, batchStart: batch, vault: schemas.VaultID{9}}, &chunk)
	b = c.appendHeader(b, here(), &recordHeader{kind: kindMark, time: 1_700_000_002, batchStart: int64(len(b))})
	void := recordHeader{kind: kindVoid, content: 3, time: 1_700_000_003, batchStart: int64(len(b))}
	b = append(c.appendHeader(b, here(), &void), "???"...)
	return b, chunk
}

// The format of disks that exist must not change: these bytes were written by
// the first version.
func TestGoldenSegment(t *testing.T) {
	text, err := os.ReadFile("testdata/segment-v1.hex")
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(string(bytes.Join(bytes.Fields(text), nil)))
	if err != nil {
		t.Fatal(err)
	}
	got, chunk := goldenSegment()
	if !bytes.Equal(got, want) {
		var lines strings.Builder
		for line := range slices.Chunk(got, 32) {
			fmt.Fprintf(&lines, "%x\n", line)
		}
		t.Errorf("the segment is now\n%s", &lines)
	}
	h, err := decodeFileHeader(want, segmentMagic)
	if err != nil {
		t.Fatal(err)
	}
	if h.number != 7 || h.node != "abcdefgh23456723" || h.salt[31] != 31 || h.created.Unix() != 1_700_000_000 {
		t.Errorf("the file header reads as %+v", h)
	}
	records := scanAll(t, h.salt, h.number, want)
	kinds := make([]schemas.Kind, len(records))
	for i, r := range records {
		kinds[i] = r.head.kind
		if r.state != good {
			t.Errorf("record %d is not good", i)
		}
	}
	if !slices.Equal(kinds, []schemas.Kind{schemas.Tree, kindMark, kindVoid}) {
		t.Fatalf("the records are of kinds %v", kinds)
	}
	r := records[0]
	back := chunkOf(&r.head, want[r.at.offset+recordHeaderSize:r.end()])
	if back.Checksum() != chunk.Sum || r.head.id != chunk.ID || r.head.vault != (schemas.VaultID{9}) || r.head.k != 1 {
		t.Errorf("the chunk reads as %+v of %+v", back, r.head)
	}
}

func scanAll(t *testing.T, salt [32]byte, segment uint32, b []byte) (records []record) {
	s := scanner{codec: newCodec(salt), file: bytes.NewReader(b), at: location{segment, fileHeaderSize}, end: int64(len(b))}
	for {
		r, ok, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return records
		}
		records = append(records, r)
	}
}

// A file header says what it is and nothing else passes for it.
func TestFileHeader(t *testing.T) {
	h := fileHeader{magic: storeMagic, node: "n1", created: time.Unix(1, 0)}
	b := h.encode()
	if got, err := decodeFileHeader(b, storeMagic); err != nil || got != h {
		t.Errorf("the header reads as %+v, %v", got, err)
	}
	if _, err := decodeFileHeader(b, segmentMagic); !errors.Is(err, errHeader) {
		t.Errorf("as a segment it reads with %v", err)
	}
	for i := range b {
		bad := slices.Clone(b)
		bad[i] ^= 1
		if _, err := decodeFileHeader(bad, storeMagic); !errors.Is(err, errHeader) {
			t.Errorf("with byte %d flipped it reads with %v", i, err)
		}
		if _, err := decodeFileHeader(b[:i], storeMagic); !errors.Is(err, errHeader) {
			t.Errorf("cut at %d it reads with %v", i, err)
		}
	}
}

// A header is valid in its own place only.
func TestHeaderIsBoundToItsPlace(t *testing.T) {
	c := newCodec([32]byte{1})
	at := location{3, 1000}
	b := c.appendHeader(nil, at, &recordHeader{kind: kindMark})
	if _, err := c.decodeHeader(b, at); err != nil {
		t.Fatal(err)
	}
	for _, other := range []location{{3, 1001}, {4, 1000}, {}} {
		if _, err := c.decodeHeader(b, other); err == nil {
			t.Errorf("it is valid at %+v too", other)
		}
	}
	if _, err := newCodec([32]byte{2}).decodeHeader(b, at); err == nil {
		t.Error("it is valid in another store too")
	}
}

// A record comes back from the scan as it was appended.
func FuzzRecord(f *testing.F) {
	f.Add(uint8(1), uint16(0), uint16(0), []byte("content"), uint32(1), uint32(128))
	f.Add(uint8(2), uint16(3), uint16(500), []byte{}, uint32(9), uint32(1<<30))
	f.Fuzz(func(t *testing.T, kind uint8, trees, data uint16, content []byte, segment, offset uint32) {
		chunk := schemas.Chunk{ID: schemas.ChunkID{1}, Kind: schemas.Kind(kind), Content: content}
		for i := range trees {
			chunk.Trees = append(chunk.Trees, schemas.ChunkID{byte(i), byte(i >> 8)})
		}
		for i := range data {
			chunk.Data = append(chunk.Data, schemas.ChunkID{byte(i), byte(i >> 8), 1})
		}
		if chunk.Validate() != nil {
			return
		}
		chunk.Sum = chunk.Checksum()
		c, at := newCodec([32]byte{5}), location{segment, int64(offset)}
		b := c.appendChunk(nil, at, &recordHeader{k: 1, time: 1, batchStart: 2, vault: schemas.VaultID{3}}, &chunk)
		h, err := c.decodeHeader(b, at)
		if err != nil || h.size() != int64(len(b)) || h.time != 1 || h.batchStart != 2 || h.vault != (schemas.VaultID{3}) {
			t.Fatalf("the header reads as %+v, %v", h, err)
		}
		back := chunkOf(&h, b[recordHeaderSize:])
		if !bodyOK(&h, &back) || !edgesOK(&h, &back) || back.ID != chunk.ID || back.Kind != chunk.Kind ||
			!slices.Equal(back.Trees, chunk.Trees) || !slices.Equal(back.Data, chunk.Data) || !bytes.Equal(back.Content, content) {
			t.Fatalf("the chunk came back changed: %+v", back)
		}
	})
}

// A scan of any bytes ends, and its records lie side by side from the first byte
// to the last.
func FuzzScan(f *testing.F) {
	segment, _ := goldenSegment()
	f.Add(segment[fileHeaderSize:], uint16(0), byte(0))
	f.Add(segment[fileHeaderSize:], uint16(200), byte(1))
	f.Add(segment[fileHeaderSize:300], uint16(3), byte(0xff))
	f.Add([]byte(recordMagic), uint16(0), byte(0))
	f.Add(bytes.Repeat([]byte(recordMagic), 100), uint16(0), byte(0))
	head, err := decodeFileHeader(segment, segmentMagic)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip byte) {
		b = append(slices.Clone(segment[:fileHeaderSize]), b...)
		if i := fileHeaderSize + int(at); i < len(b) {
			b[i] ^= flip
		}
		next := int64(fileHeaderSize)
		for _, r := range scanAll(t, head.salt, head.number, b) {
			if r.at.offset != next || r.size <= 0 {
				t.Fatalf("a record at %d of %d bytes, want it at %d", r.at.offset, r.size, next)
			}
			next = r.end()
		}
		if next != int64(max(len(b), fileHeaderSize)) {
			t.Fatalf("the scan ended at %d of %d", next, len(b))
		}
	})
}

// What the index keeps comes back, and nothing else is read.
func TestIndexValues(t *testing.T) {
	e := entry{location: location{1 << 30, 1 << 40}, content: 1_000_000, edges: 16384, kind: schemas.Tree, corrupt: true, generation: 1 << 31, marked: true}
	if got, err := decodeEntry(e.encode(nil)); err != nil || got != e {
		t.Errorf("the entry reads as %+v, %v", got, err)
	}
	s := indexState{location{3, 4}, counts{5, 6, 7, 8}, 9}
	if got, err := decodeState(s.encode()); err != nil || got != s {
		t.Errorf("the state reads as %+v, %v", got, err)
	}
	u := usage{10, 11}
	if got, err := decodeUsage(u.encode()); err != nil || got != u {
		t.Errorf("the usage reads as %+v, %v", got, err)
	}
	for n := range 30 {
		if _, err := decodeEntry(make([]byte, n)); n != entrySize && !errors.Is(err, errIndexValue) {
			t.Errorf("an entry of %d bytes reads with %v", n, err)
		}
		if _, err := decodeState(make([]byte, n)); !errors.Is(err, errIndexValue) {
			t.Errorf("a state of %d bytes reads with %v", n, err)
		}
		if _, err := decodeUsage(make([]byte, n)); n != segmentSize && !errors.Is(err, errIndexValue) {
			t.Errorf("a usage of %d bytes reads with %v", n, err)
		}
	}
}

// A sector that the disk cannot read costs a check its records and no others;
// recovery stops at it.
func TestScanUnreadableSector(t *testing.T) {
	c := newCodec([32]byte{})
	var b []byte
	for i := range 4 {
		chunk := schemas.Chunk{ID: schemas.ChunkID{byte(i + 1)}, Kind: schemas.Data, Content: make([]byte, 9000)}
		chunk.Sum = chunk.Checksum()
		b = c.appendChunk(b, location{1, int64(len(b))}, &recordHeader{}, &chunk)
	}
	s := scanner{codec: c, file: badSector{bytes.NewReader(b), 10_000}, at: location{1, 0}, end: int64(len(b))}
	if _, _, err := s.next(); !errors.Is(err, errSector) {
		t.Errorf("without skipping the scan says %v", err)
	}
	s = scanner{codec: c, file: s.file, at: location{1, 0}, end: s.end, skipBad: true}
	var sound int
	for {
		r, ok, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if r.state == good {
			sound++
		}
	}
	if sound != 3 {
		t.Errorf("%d records of 4 are sound, want 3", sound)
	}
}

var errSector = errors.New("the disk cannot read this sector")

// badSector fails reads that touch the byte at bad.
type badSector struct {
	*bytes.Reader
	bad int64
}

func (f badSector) ReadAt(b []byte, off int64) (int, error) {
	if off <= f.bad && f.bad < off+int64(len(b)) {
		return 0, errSector
	}
	return f.Reader.ReadAt(b, off)
}

// appendChunk appends the whole record of a chunk.
func (c *codec) appendChunk(dst []byte, at location, h *recordHeader, chunk *schemas.Chunk) []byte {
	return append(c.appendFront(dst, at, h, chunk), chunk.Content...)
}
