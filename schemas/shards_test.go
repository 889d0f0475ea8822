package schemas

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// Any k shards make the chunk, and k-1 do not, whichever they are; damaged or
// foreign ones never make anything else.
func TestAnyKShardsMakeTheChunk(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	var buf, joined []byte
	for _, d := range []Durability{{2, 1}, {4, 2}, {3, 0}, {10, 4}, {2, 5}} {
		for _, size := range []int{1, int(d.K), MinSplit, MinSplit + 1, 777_777} {
			c := Chunk{ID: ChunkID(random(32)), Kind: Data, Content: random(size)}
			c.Sum = c.Checksum()
			shards, used, err := Split(d, &c, buf)
			if buf = used; err != nil {
				t.Fatal(err)
			}
			if len(shards) != d.Nodes() {
				t.Fatalf("%v made %d shards", d, len(shards))
			}
			for i := range shards {
				if err := shards[i].Validate(); err != nil || shards[i].Sum != shards[i].Checksum() || len(shards[i].Content) != shardSize(d, size) {
					t.Fatalf("%v of %d bytes: shard %d has %d bytes, %v", d, size, i, len(shards[i].Content), err)
				}
			}
			for range 5 {
				some := slices.Clone(shards)
				rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
				got, err := Join(some[:d.K], joined)
				if err != nil || got.ID != c.ID || got.Kind != Data || got.Part != Whole || got.Sum != c.Sum || !slices.Equal(got.Content, c.Content) {
					t.Fatalf("%v of %d bytes: %v", d, size, err)
				}
				joined = got.Content
				if _, err := Join(some[:d.K-1], nil); CodeOf(err) != NotHeld {
					t.Errorf("%v: with a shard too few: %v", d, err)
				}
				if _, err := Join(slices.Concat(some[:d.K-1], some[:1]), nil); CodeOf(err) != NotHeld {
					t.Errorf("%v: with one shard twice: %v", d, err)
				}
				bad := slices.Clone(some[:d.K])
				bad[0].Content = slices.Clone(bad[0].Content)
				bad[0].Content[rng.IntN(len(bad[0].Content))] ^= 1
				// What fills the last shard up is no content.
				if got, err := Join(bad, nil); err == nil && !slices.Equal(got.Content, c.Content) {
					t.Errorf("%v: a flipped bit made another chunk", d)
				}
			}
		}
	}
}

// A shard of k+m is that of k+more: a policy that asks for more parity moves nothing.
func TestMoreParityLeavesShardsAsTheyAre(t *testing.T) {
	c := Chunk{ID: ChunkID{1}, Kind: Data, Content: slices.Repeat([]byte("content "), 20_000)}
	c.Sum = c.Checksum()
	less, _, err := Split(Durability{4, 2}, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	more, _, err := Split(Durability{4, 5}, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range less {
		if less[i].Part != more[i].Part || less[i].Sum != more[i].Sum {
			t.Errorf("shard %d is another one", i)
		}
	}
}

func TestShardsTravel(t *testing.T) {
	c := Chunk{ID: ChunkID{9}, Kind: Data, Content: slices.Repeat([]byte{7}, MinSplit)}
	c.Sum = c.Checksum()
	shards, _, err := Split(Durability{2, 1}, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	put := NewPut(nil, "s", VaultID{1})
	put.Add(&c)
	for i := range shards {
		put.Add(&shards[i])
	}
	got, err := DecodePut(put.Put())
	if err != nil || len(got.Chunks) != 4 {
		t.Fatal(got, err)
	}
	for i, want := range append([]Chunk{c}, shards...) {
		if g := got.Chunks[i]; g.Part != want.Part || g.Sum != want.Sum || g.Checksum() != want.Sum {
			t.Errorf("%v came as %v", want.Part, g.Part)
		}
	}
	req, err := DecodeIDs((&IDsRequest{IDs: []ChunkID{{1}}, Parts: true, Look: true, Epoch: 77, Generation: 1 << 20}).Encode())
	if err != nil || !req.Parts || !req.Look || req.Epoch != 77 || req.Generation != 1<<20 || len(req.IDs) != 1 {
		t.Errorf("%+v %v", req, err)
	}
}

// What a node says to hold of several ids is what the asker reads.
func TestHaveParts(t *testing.T) {
	type held struct {
		i int
		p Part
	}
	some := []held{{1, ShardOf(2, Sum{1}, 1)}, {1, ShardOf(4, Sum{0xff, 0, 0, 9}, 0)}, {4, Whole}, {4, ShardOf(2, Sum{}, 0)}, {9, Whole}}
	have := func(n int, parts bool, some []held) (rep *HaveReply, seen []held) {
		t.Helper()
		rep, err := HaveOf(n, parts, func(visit func(int, Part) error) (err error) {
			for _, h := range some {
				err = errors.Join(err, visit(h.i, h.p))
			}
			return err
		})
		if err == nil {
			err = rep.Each(n, func(i int, p Part) { seen = append(seen, held{i, p}) })
		}
		if err != nil {
			t.Fatal(err)
		}
		return rep, seen
	}
	for _, n := range []int{10, 12, 16, 17} {
		rep, seen := have(n, true, some)
		if !slices.Equal(seen, some) || len(rep.Parts) != n+3*8 {
			t.Errorf("of %d: %v, want %v, in %d bytes", n, seen, some, len(rep.Parts))
		}
		rep.Parts = rep.Parts[:len(rep.Parts)-1]
		if rep.Each(n, func(int, Part) {}) == nil {
			t.Error("truncated parts were read")
		}
	}
	if rep, seen := have(10, false, some); rep.Parts != nil || !slices.Equal(seen, []held{{4, Whole}, {9, Whole}}) {
		t.Errorf("of whole ones: %v and % x", seen, rep.Parts)
	}
	if _, seen := have(3, true, nil); len(seen) != 0 {
		t.Errorf("of nothing: %v", seen)
	}
	// More than can be counted are left out, and what follows is still read.
	var many []held
	for i := range 300 {
		many = append(many, held{0, ShardOf(200, Sum{byte(i / 200)}, i%200)})
	}
	many = append(many, held{1, Whole})
	if _, seen := have(2, true, many); !slices.Equal(seen, append(slices.Clone(many[:255]), many[300])) {
		t.Errorf("of many %d are told", len(seen))
	}
	// An error ends it.
	wrong := errors.New("wrong")
	if _, err := HaveOf(1, true, func(func(int, Part) error) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("the error is %v", err)
	}
}

func BenchmarkSplitJoin(b *testing.B) {
	c := Chunk{ID: ChunkID{9}, Kind: Data, Content: make([]byte, 500_000)}
	c.Sum = c.Checksum()
	d := Durability{4, 2}
	var buf, joined []byte
	b.Run("split", func(b *testing.B) {
		b.SetBytes(int64(len(c.Content)))
		for b.Loop() {
			_, buf, _ = Split(d, &c, buf)
		}
	})
	shards, _, _ := Split(d, &c, nil)
	for name, some := range map[string][]Chunk{"join data": shards[:4], "join parity": shards[2:]} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(c.Content)))
			for b.Loop() {
				got, err := Join(some, joined)
				if err != nil {
					b.Fatal(err)
				}
				joined = got.Content
			}
		})
	}
}
