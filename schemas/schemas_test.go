package schemas

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
)

func testChunks() []Chunk {
	a, b := ChunkID{1, 2, 3}, ChunkID{4, 5, 6}
	chunks := []Chunk{
		{ID: a, Kind: Data, Content: []byte("sealed")},
		{ID: b, Kind: Tree, Trees: []ChunkID{b}, Data: []ChunkID{a, b}, Content: bytes.Repeat([]byte("x"), 70_000)},
	}
	for i := range chunks {
		chunks[i].Sum = chunks[i].Checksum()
	}
	return chunks
}

// The bytes on the wire never change, because other programs rely on them.
func TestGoldenMessages(t *testing.T) {
	content := []byte("oi")
	small := Chunk{ID: ChunkID{0xaa}, Kind: Plain, Content: content}
	put := NewPut(nil, "s1", VaultID{0xbb})
	put.Add(&small)
	transmit, err := Marshal(&TransmitRequest{Nickname: "ana", Record: "a.txt", Content: &content})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := Marshal(&TransmitReply{Reply: OK, ID: "a.txt@1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		got  []byte
		want string
	}{
		{"transmit", transmit, "83a76170656c69646fa3616e61ac6e6f6d655f6172717569766fa5612e747874b0636f6e746575646f5f6172717569766fc4026f69"},
		{"transmit reply", reply, "82a6737461747573ccffa26964a7612e7478744031"},
		{"put", put.Put(), "83a773657373696f6ea27331a57661756c74c410bb000000000000000000000000000000a66368756e6b73dd00000001" +
			"86a26964c420aa00000000000000000000000000000000000000000000000000000000000000a46b696e6403a57472656573c400a464617461c400a373756dc420" +
			strings.Repeat("00", 32) + "b0636f6e746575646f5f6172717569766fc4026f69"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s is\n%s, want\n%s", c.what, got, c.want)
		}
	}
}

func TestBulkRoundTrip(t *testing.T) {
	want := testChunks()
	put := NewPut(nil, "session", VaultID{9})
	reply := NewChunks(nil)
	for i := range want {
		put.Add(&want[i])
		reply.Add(&want[i])
	}
	p, err := DecodePut(put.Put())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&PutRequest{Session: "session", Vault: VaultID{9}, Chunks: want}, p); diff != "" {
		t.Error(diff)
	}
	failed := []Failed{{ID: ChunkID{7}, Code: Corrupt, Message: strings.Repeat("m", 300)}}
	r, err := DecodeChunks(reply.Reply(failed))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&ChunksReply{Reply: OK, Chunks: want, Failed: failed}, r); diff != "" {
		t.Error(diff)
	}
	for _, c := range p.Chunks {
		if c.Checksum() != c.Sum {
			t.Errorf("chunk %s does not match its checksum after decoding", c.ID.Short())
		}
	}
	ids := &IDsRequest{Vault: VaultID{1}, IDs: []ChunkID{{1}, {2}}}
	back, err := DecodeIDs(ids.Encode())
	if err != nil || cmp.Diff(ids, back) != "" {
		t.Errorf("the ids are decoded as %v, %v", back, err)
	}
}

// The msgpack library reads what the hand-written encoder writes, and the other way round.
func TestBulkIsOrdinaryMsgpack(t *testing.T) {
	put := NewPut(nil, "s", VaultID{9})
	want := testChunks()
	put.Add(&want[0])
	var raw map[string]any
	if err := msgpack.Unmarshal(put.Put(), &raw); err != nil {
		t.Fatal(err)
	}
	b, err := msgpack.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	p, err := DecodePut(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[:1], p.Chunks); diff != "" {
		t.Error(diff)
	}
}

func TestChunkSizesFit(t *testing.T) {
	c := Chunk{ID: ChunkID{1}, Kind: Data, Content: make([]byte, MaxContent)}
	put := NewPut(nil, strings.Repeat("s", 64), VaultID{})
	if !put.HasSpace(c.Size()) {
		t.Fatal("the largest chunk does not fit an empty message")
	}
	put.Add(&c)
	if put.Size() > MaxBatch {
		t.Errorf("the largest chunk makes a message of %d bytes, more than %d", put.Size(), MaxBatch)
	}
	if put.HasSpace(MaxBatch - put.Size()) {
		t.Error("a chunk that would exceed the limit is reported to fit")
	}
}

func TestUnmarshalBadInput(t *testing.T) {
	for name, b := range map[string]string{
		"empty":         "",
		"not a map":     "93010203",
		"text":          hex.EncodeToString([]byte("ola")),
		"truncated":     "81a76170656c",
		"trailing":      "81a76170656c69646fa3616e6100",
		"wrong type":    "81a76170656c69646f05",
		"bad byte":      "81a76170656c69646fc1",
		"length beyond": "81a76170656c69646fdbffffffff",
		"map beyond":    "dfffffffff",
		"deep":          "81a161" + strings.Repeat("91", 100) + "01",
	} {
		raw, err := hex.DecodeString(b)
		if err != nil {
			t.Fatal(err)
		}
		var r ListRequest
		if err := Unmarshal(raw, &r); CodeOf(err) != BadRequest {
			t.Errorf("%s: got %v, want %s", name, err, BadRequest)
		}
		if _, err := DecodePut(raw); CodeOf(err) != BadRequest {
			t.Errorf("%s as a put: got %v, want %s", name, err, BadRequest)
		}
	}
}

func TestMissingContentDiffersFromEmpty(t *testing.T) {
	for name, c := range map[string]struct {
		msg  map[string]any
		want *[]byte
	}{
		"missing": {map[string]any{"apelido": "a"}, nil},
		"empty":   {map[string]any{"conteudo_arquivo": []byte{}}, &[]byte{}},
		"text":    {map[string]any{"conteudo_arquivo": "oi", "novo": 1}, ptr([]byte("oi"))},
		"binary":  {map[string]any{"conteudo_arquivo": []byte("oi")}, ptr([]byte("oi"))},
	} {
		b, err := msgpack.Marshal(c.msg)
		if err != nil {
			t.Fatal(err)
		}
		var r TransmitRequest
		if err := Unmarshal(b, &r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if (r.Content == nil) != (c.want == nil) || c.want != nil && !bytes.Equal(*r.Content, *c.want) {
			t.Errorf("%s: content is %v", name, r.Content)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"ana": true, "a b": true, "ção.txt": true, "a..b": true, strings.Repeat("x", MaxName): true, "x@y": true, "a@": true,
		"": false, ".": false, "..": false, "../x": false, "a/b": false, "a\x00": false, "a\nb": false,
		strings.Repeat("x", MaxName+1): false, "\xff": false, "x@12": false,
	} {
		if err := CheckRecord(name); (err == nil) != ok || err != nil && CodeOf(err) != BadName {
			t.Errorf("CheckRecord(%q) = %v", name, err)
		}
	}
	for id, want := range map[string]struct {
		record string
		number uint64
	}{"a": {"a", 0}, "a@3": {"a", 3}, "a@b": {"a@b", 0}, "a@b@7": {"a@b", 7}} {
		record, number, err := ParseVersionID(id)
		if err != nil || record != want.record || number != want.number {
			t.Errorf("ParseVersionID(%q) = %q, %d, %v", id, record, number, err)
		}
		if number > 0 && VersionID(record, number) != id {
			t.Errorf("%q is formatted as %q after parsing", id, VersionID(record, number))
		}
	}
	for _, id := range []string{"a@0", "", "a/b@1", "@1"} {
		if _, _, err := ParseVersionID(id); CodeOf(err) != BadName {
			t.Errorf("ParseVersionID(%q): %v", id, err)
		}
	}
}

func TestErrors(t *testing.T) {
	err := fmt.Errorf("put: %w", Errorf(DiskFull, "the disk is full"))
	if !errors.Is(err, &Error{Code: DiskFull}) || errors.Is(err, &Error{Code: Corrupt}) {
		t.Error("errors.Is does not compare the codes")
	}
	r := Fail(err)
	if r.Status != 906 || r.Code != DiskFull || CodeOf(r.Err()) != DiskFull {
		t.Errorf("the reply is %+v", r)
	}
	if r := Fail(errors.New("x")); r.Status != 158 || r.Code != Internal {
		t.Errorf("a plain error became %+v", r)
	}
	if err := (&Reply{Status: 255}).Err(); err != nil {
		t.Errorf("success is an error: %v", err)
	}
}

func TestVaultsAreDifferent(t *testing.T) {
	ids := map[VaultID]string{}
	for _, nick := range []string{"ana", "bob"} {
		ids[SealedVault(nick)] = nick
		ids[PlainVault(nick)] = nick
	}
	if len(ids) != 4 {
		t.Errorf("two nicknames have %d vaults, want 4", len(ids))
	}
	if PlainChunkID(PlainVault("ana"), nil) == PlainChunkID(PlainVault("bob"), nil) {
		t.Error("equal content has the same id in two vaults")
	}
}

func TestPutSubjects(t *testing.T) {
	matches := func(pattern, subject string) bool {
		p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
		for i := range p {
			switch {
			case p[i] == ">":
				return len(s) > i
			case i >= len(s) || p[i] != "*" && p[i] != s[i]:
				return false
			}
		}
		return len(p) == len(s)
	}
	sets := [][]NodeID{{"a"}, {"a", "b"}, {"b", "a"}, {"b", "c", "a"}, {"b", "a", "c"}, {"d", "c", "b", "a"}, {"b"}, {"b", "c"}}
	for _, set := range sets {
		want := strings.Count(PutSubject(set)+".", ".a.")
		got := 0
		for _, p := range PutSubscriptions("a") {
			if matches(p, PutSubject(set)) {
				got++
			}
		}
		if got != want {
			t.Errorf("a receives a put to %v %d times, want %d", set, got, want)
		}
	}
}

func TestDurability(t *testing.T) {
	for _, s := range []string{"1+0", "1+1", "4+2"} {
		if d, err := ParseDurability(s); err != nil || d.String() != s {
			t.Errorf("%s is parsed as %v, %v", s, d, err)
		}
	}
	for _, s := range []string{"", "1", "0+1", "1+", "a+b", "1+-1", "300+1"} {
		if d, err := ParseDurability(s); err == nil {
			t.Errorf("%q is accepted, as %v", s, d)
		}
	}
}

func FuzzDecode(f *testing.F) {
	chunks := testChunks()
	put, reply := NewPut(nil, "s", VaultID{}), NewChunks(nil)
	put.Add(&chunks[0])
	reply.Add(&chunks[0])
	f.Add(put.Put())
	f.Add(reply.Reply([]Failed{{Code: Corrupt}}))
	f.Add((&IDsRequest{IDs: []ChunkID{{1}}}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := DecodePut(b); err == nil {
			// A put that is accepted can be encoded and decoded again.
			again := NewPut(nil, p.Session, p.Vault)
			for i := range p.Chunks {
				again.Add(&p.Chunks[i])
			}
			q, err := DecodePut(again.Put())
			if err == nil && len(p.Session) < 1<<16 && len(q.Chunks) != len(p.Chunks) {
				t.Errorf("%d chunks became %d", len(p.Chunks), len(q.Chunks))
			}
		}
		if _, err := DecodeIDs(b); err != nil && CodeOf(err) != BadRequest {
			t.Error(err)
		}
		_, _ = DecodeChunks(b)
		var l ListReply
		_ = Unmarshal(b, &l)
		var v DownloadReply
		_ = Unmarshal(b, &v)
	})
}
