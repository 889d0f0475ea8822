package erasure

import (
	"math/rand/v2"
	"slices"
	"testing"

	"servidor-backup/schemas"
)

// Any k shards make the chunk, and no k-1 shards do. Damaged shards never make another
// chunk.
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
	for _, d := range []schemas.Durability{{K: 2, M: 1}, {K: 4, M: 2}, {K: 3, M: 0}, {K: 10, M: 4}, {K: 2, M: 5}} {
		for _, size := range []int{1, int(d.K), schemas.MinSplit, schemas.MinSplit + 1, 777_777} {
			c := schemas.Chunk{ID: schemas.ChunkID(random(32)), Kind: schemas.Data, Content: random(size)}
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
				mixed := slices.Clone(shards)
				rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
				got, err := Join(mixed[:d.K], joined)
				if err != nil || got.ID != c.ID || got.Kind != schemas.Data || got.Part != schemas.Whole || got.Sum != c.Sum || !slices.Equal(got.Content, c.Content) {
					t.Fatalf("%v of %d bytes: %v", d, size, err)
				}
				joined = got.Content
				if _, err := Join(mixed[:d.K-1], nil); schemas.CodeOf(err) != schemas.NotHeld {
					t.Errorf("%v: with one shard too few the error is %v", d, err)
				}
				if _, err := Join(slices.Concat(mixed[:d.K-1], mixed[:1]), nil); schemas.CodeOf(err) != schemas.NotHeld {
					t.Errorf("%v: with one shard twice the error is %v", d, err)
				}
				bad := slices.Clone(mixed[:d.K])
				bad[0].Content = slices.Clone(bad[0].Content)
				bad[0].Content[rng.IntN(len(bad[0].Content))] ^= 1
				// The flipped bit may be in the padding, which is not part of the content.
				if got, err := Join(bad, nil); err == nil && !slices.Equal(got.Content, c.Content) {
					t.Errorf("%v: a flipped bit made another chunk", d)
				}
			}
		}
	}
}

// The shards of k+m are also shards of k+more, so a policy with more parity moves nothing.
func TestMoreParityLeavesShardsAsTheyAre(t *testing.T) {
	c := schemas.Chunk{ID: schemas.ChunkID{1}, Kind: schemas.Data, Content: slices.Repeat([]byte("content "), 20_000)}
	c.Sum = c.Checksum()
	less, _, err := Split(schemas.Durability{K: 4, M: 2}, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	more, _, err := Split(schemas.Durability{K: 4, M: 5}, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range less {
		if less[i].Part != more[i].Part || less[i].Sum != more[i].Sum {
			t.Errorf("shard %d differs", i)
		}
	}
}

func TestShardsInMessages(t *testing.T) {
	c := schemas.Chunk{ID: schemas.ChunkID{9}, Kind: schemas.Data, Content: slices.Repeat([]byte{7}, schemas.MinSplit)}
	c.Sum = c.Checksum()
	shards, _, err := Split(schemas.Durability{K: 2, M: 1}, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	put := schemas.NewPut(nil, "s", schemas.VaultID{1})
	put.Add(&c)
	for i := range shards {
		put.Add(&shards[i])
	}
	got, err := schemas.DecodePut(put.Put())
	if err != nil || len(got.Chunks) != 4 {
		t.Fatal(got, err)
	}
	for i, want := range append([]schemas.Chunk{c}, shards...) {
		if g := got.Chunks[i]; g.Part != want.Part || g.Sum != want.Sum || g.Checksum() != want.Sum {
			t.Errorf("the part %v is decoded as %v", want.Part, g.Part)
		}
	}
	req, err := schemas.DecodeIDs((&schemas.IDsRequest{IDs: []schemas.ChunkID{{1}}, Parts: true, Look: true, Epoch: 77, Generation: 1 << 20}).Encode())
	if err != nil || !req.Parts || !req.Look || req.Epoch != 77 || req.Generation != 1<<20 || len(req.IDs) != 1 {
		t.Errorf("%+v %v", req, err)
	}
}

func BenchmarkSplitJoin(b *testing.B) {
	c := schemas.Chunk{ID: schemas.ChunkID{9}, Kind: schemas.Data, Content: make([]byte, 500_000)}
	c.Sum = c.Checksum()
	d := schemas.Durability{K: 4, M: 2}
	var buf, joined []byte
	b.Run("split", func(b *testing.B) {
		b.SetBytes(int64(len(c.Content)))
		for b.Loop() {
			_, buf, _ = Split(d, &c, buf)
		}
	})
	shards, _, _ := Split(d, &c, nil)
	for name, some := range map[string][]schemas.Chunk{"join data": shards[:4], "join parity": shards[2:]} {
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
