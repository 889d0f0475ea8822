package segment

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

// goldenSegment returns a whole small segment and the chunk in it, made from constants.
func goldenSegment() (segment []byte, chunk schemas.Chunk) {
	h := FileHeader{Magic: SegmentMagic, Number: 7, Node: "abcdefgh23456723", Created: time.Unix(1_700_000_000, 0)}
	for i := range h.Salt {
		h.Salt[i] = byte(i)
	}
	chunk = schemas.Chunk{
		ID: schemas.ChunkID{1, 2, 3}, Kind: schemas.Tree,
		Trees: []schemas.ChunkID{{4}}, Data: []schemas.ChunkID{{5}, {6}}, Content: []byte("sealed"),
	}
	chunk.Sum = chunk.Checksum()
	c := NewCodec(h.Salt)
	b := h.Encode()
	here := func() Location { return Location{h.Number, int64(len(b))} }
	batch := int64(len(b))
	b = c.appendChunk(b, here(), &Header{K: 1, Time: 1_700_000_001, BatchStart: batch, Vault: schemas.VaultID{9}}, &chunk)
	b = c.AppendHeader(b, here(), &Header{Kind: KindMark, Time: 1_700_000_002, BatchStart: int64(len(b))})
	void := Header{Kind: KindVoid, Content: 3, Time: 1_700_000_003, BatchStart: int64(len(b))}
	b = append(c.AppendHeader(b, here(), &void), "???"...)
	return b, chunk
}

// The format of existing disks must not change: the first version wrote these bytes.
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
	h, err := DecodeFileHeader(want, SegmentMagic)
	if err != nil {
		t.Fatal(err)
	}
	if h.Number != 7 || h.Node != "abcdefgh23456723" || h.Salt[31] != 31 || h.Created.Unix() != 1_700_000_000 {
		t.Errorf("the file header decodes as %+v", h)
	}
	records := scanAll(t, h.Salt, h.Number, want)
	kinds := make([]schemas.Kind, len(records))
	for i, r := range records {
		kinds[i] = r.Head.Kind
		if r.State != Good {
			t.Errorf("record %d is not good", i)
		}
	}
	if !slices.Equal(kinds, []schemas.Kind{schemas.Tree, KindMark, KindVoid}) {
		t.Fatalf("the records are of kinds %v", kinds)
	}
	r := records[0]
	back := r.Head.Chunk(want[r.At.Offset+HeaderSize : r.End()])
	if back.Checksum() != chunk.Sum || r.Head.ID != chunk.ID || r.Head.Vault != (schemas.VaultID{9}) || r.Head.K != 1 {
		t.Errorf("the chunk decodes as %+v from %+v", back, r.Head)
	}
}

func scanAll(t *testing.T, salt [32]byte, segment uint32, b []byte) (records []Record) {
	s := Scanner{codec: NewCodec(salt), file: bytes.NewReader(b), at: Location{segment, FileHeaderSize}, end: int64(len(b))}
	for {
		r, ok, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return records
		}
		records = append(records, r)
	}
}

// A file header decodes to what was encoded; changed or cut headers do not decode.
func TestFileHeader(t *testing.T) {
	h := FileHeader{Magic: StoreMagic, Node: "n1", Created: time.Unix(1, 0)}
	b := h.Encode()
	if got, err := DecodeFileHeader(b, StoreMagic); err != nil || got != h {
		t.Errorf("the header decodes as %+v, %v", got, err)
	}
	if _, err := DecodeFileHeader(b, SegmentMagic); !errors.Is(err, ErrHeader) {
		t.Errorf("as a segment's header it decodes with %v", err)
	}
	for i := range b {
		bad := slices.Clone(b)
		bad[i] ^= 1
		if _, err := DecodeFileHeader(bad, StoreMagic); !errors.Is(err, ErrHeader) {
			t.Errorf("with byte %d flipped it decodes with %v", i, err)
		}
		if _, err := DecodeFileHeader(b[:i], StoreMagic); !errors.Is(err, ErrHeader) {
			t.Errorf("cut at %d it decodes with %v", i, err)
		}
	}
}

// A record header is valid only at the location it was written for.
func TestHeaderIsBoundToItsLocation(t *testing.T) {
	c := NewCodec([32]byte{1})
	at := Location{3, 1000}
	b := c.AppendHeader(nil, at, &Header{Kind: KindMark})
	if _, err := c.DecodeHeader(b, at); err != nil {
		t.Fatal(err)
	}
	for _, other := range []Location{{3, 1001}, {4, 1000}, {}} {
		if _, err := c.DecodeHeader(b, other); err == nil {
			t.Errorf("it is also valid at %+v", other)
		}
	}
	if _, err := NewCodec([32]byte{2}).DecodeHeader(b, at); err == nil {
		t.Error("it is also valid in another store")
	}
}

// A record decodes to what was appended.
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
		c, at := NewCodec([32]byte{5}), Location{segment, int64(offset)}
		b := c.appendChunk(nil, at, &Header{K: 1, Time: 1, BatchStart: 2, Vault: schemas.VaultID{3}}, &chunk)
		h, err := c.DecodeHeader(b, at)
		if err != nil || h.Size() != int64(len(b)) || h.Time != 1 || h.BatchStart != 2 || h.Vault != (schemas.VaultID{3}) {
			t.Fatalf("the header decodes as %+v, %v", h, err)
		}
		back := h.Chunk(b[HeaderSize:])
		if !h.Matches(&back) || !h.EdgesMatch(&back) || back.ID != chunk.ID || back.Kind != chunk.Kind ||
			!slices.Equal(back.Trees, chunk.Trees) || !slices.Equal(back.Data, chunk.Data) || !bytes.Equal(back.Content, content) {
			t.Fatalf("the chunk came back changed: %+v", back)
		}
	})
}

// A scan of any bytes ends, and its records cover the bytes from first to last
// without gaps.
func FuzzScan(f *testing.F) {
	segment, _ := goldenSegment()
	f.Add(segment[FileHeaderSize:], uint16(0), byte(0))
	f.Add(segment[FileHeaderSize:], uint16(200), byte(1))
	f.Add(segment[FileHeaderSize:300], uint16(3), byte(0xff))
	f.Add([]byte(recordMagic), uint16(0), byte(0))
	f.Add(bytes.Repeat([]byte(recordMagic), 100), uint16(0), byte(0))
	head, err := DecodeFileHeader(segment, SegmentMagic)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip byte) {
		b = append(slices.Clone(segment[:FileHeaderSize]), b...)
		if i := FileHeaderSize + int(at); i < len(b) {
			b[i] ^= flip
		}
		next := int64(FileHeaderSize)
		for _, r := range scanAll(t, head.Salt, head.Number, b) {
			if r.At.Offset != next || r.Size <= 0 {
				t.Fatalf("a record of %[2]d bytes is at %[1]d, want it at %[3]d", r.At.Offset, r.Size, next)
			}
			next = r.End()
		}
		if next != int64(max(len(b), FileHeaderSize)) {
			t.Fatalf("the scan ended at %d of %d", next, len(b))
		}
	})
}

// With SkipUnreadable, a sector that the disk cannot read damages the records in it
// and no others. Without it, the scan stops there.
func TestScanUnreadableSector(t *testing.T) {
	c := NewCodec([32]byte{})
	var b []byte
	for i := range 4 {
		chunk := schemas.Chunk{ID: schemas.ChunkID{byte(i + 1)}, Kind: schemas.Data, Content: make([]byte, 9000)}
		chunk.Sum = chunk.Checksum()
		b = c.appendChunk(b, Location{1, int64(len(b))}, &Header{}, &chunk)
	}
	s := Scanner{codec: c, file: badSector{bytes.NewReader(b), 10_000}, at: Location{1, 0}, end: int64(len(b))}
	if _, _, err := s.Next(); !errors.Is(err, errSector) {
		t.Errorf("without SkipUnreadable the scan fails with %v", err)
	}
	s = Scanner{codec: c, file: s.file, at: Location{1, 0}, end: s.end, SkipUnreadable: true}
	var sound int
	for {
		r, ok, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if r.State == Good {
			sound++
		}
	}
	if sound != 3 {
		t.Errorf("%d records of 4 are sound, want 3", sound)
	}
}

var errSector = errors.New("the disk cannot read this sector")

// badSector fails reads that include the byte at offset bad.
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
func (c *Codec) appendChunk(dst []byte, at Location, h *Header, chunk *schemas.Chunk) []byte {
	return append(c.AppendFront(dst, at, h, chunk), chunk.Content...)
}
