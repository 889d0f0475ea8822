package coordinator

import (
	crypto "crypto/rand"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/coordinator/gc"
	"servidor-backup/schemas"
)

// enter makes a version of a tree, even if chunks of the tree are not held.
func (w *world) enter(nickname, record string, root schemas.ChunkID) string {
	w.t.Helper()
	return w.enterVersion(&schemas.Version{Nickname: nickname, Record: record, Vault: schemas.SealedVault(nickname), Root: root, RootKind: schemas.Tree})
}

func (w *world) enterVersion(v *schemas.Version) string {
	w.t.Helper()
	ctx := bustest.Context(w.t)
	v.Session = crypto.Text()
	err := w.c.catalog.EnterVault(ctx, v.Nickname, nil)
	if err == nil {
		v, err = w.c.catalog.Commit(ctx, v, 0, false)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return v.ID
}

// parentOf makes a tree chunk with edges to tree chunks and data.
func (w *world) parentOf(edges ...schemas.Chunk) schemas.Chunk {
	c := w.Tree(0, 0, 10)
	for i := range edges {
		if edges[i].Kind == schemas.Tree {
			c.Trees = append(c.Trees, edges[i].ID)
		} else {
			c.Data = append(c.Data, edges[i].ID)
		}
	}
	c.Sum = c.Checksum()
	return c
}

// wantLost checks which versions have lost chunks, as the status tells of the newest collection. A
// version is written "nickname record@number chunks".
func (w *world) wantLost(want ...string) {
	w.t.Helper()
	rep := w.status()
	var got []string
	for _, l := range rep.Lost {
		got = append(got, fmt.Sprintf("%s %s %d", l.Nickname, l.Version, l.Chunks))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || rep.LostMore {
		w.t.Errorf("the versions with lost chunks are %q (more: %v), want %q", got, rep.LostMore, want)
	}
}

func (w *world) status() (rep schemas.StatusReply) {
	w.t.Helper()
	if err := w.request(schemas.SubjectStatus, &schemas.StatusRequest{}, &rep); err != nil {
		w.t.Fatal(err)
	}
	return rep
}

// A collection names all versions that need lost data, on whatever path they reach it. All garbage
// is collected nevertheless.
func TestCollectionFindsWhatIsLost(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node(), w.node()}
	one, two, kept := w.Data(30), w.Data(30), w.Data(30)
	leaf := w.parentOf(one, kept)
	both := w.parentOf(one, two) // needs the same lost data as leaf
	whole := w.parentOf(kept)
	sub := w.parentOf(leaf, whole)
	old := w.parentOf(leaf)
	new := w.parentOf(sub, both)
	other := w.parentOf(whole, sub)
	sound := w.parentOf(whole)
	held := []schemas.Chunk{kept, leaf, both, whole, sub, old, new, other, sound}
	w.put(held...)
	w.putOf("rui", append(held, one, two)...) // with the same key, but nothing lost
	garbage := w.newTree(2, 2)
	w.put(garbage.all...)

	w.enter("rui", "r", new.ID)
	w.enter(nickname, "r", old.ID)
	w.enter(nickname, "r", sound.ID)
	w.enter(nickname, "r", new.ID)
	w.enter(nickname, "r", new.ID)
	w.enter(nickname, "s", other.ID)
	w.mustCollect()
	w.wantLost("ana r@1 1", "ana r@3 2", "ana r@4 2", "ana s@1 1")
	w.wantHeld("garbage", nodes, garbage.all, 0)

	w.forget("r@3", false)
	w.collectAfter(time.Hour)
	w.wantLost("ana r@1 1", "ana r@3 2", "ana r@4 2", "ana s@1 1")
	w.mustCollect()
	w.wantLost("ana r@1 1", "ana r@4 2", "ana s@1 1")
	w.enterVersion(&schemas.Version{Nickname: nickname, Record: "f", Vault: schemas.PlainVault(nickname), Root: one.ID, RootKind: schemas.Plain})
	w.mustCollect()
	w.wantLost("ana f@1 1", "ana r@1 1", "ana r@4 2", "ana s@1 1")
	rep := w.status()
	if len(rep.Nodes) != 2 || rep.Map == nil || len(rep.Map.Nodes) != 2 || rep.Collection.Generation == 0 || rep.Collection.Marked == 0 {
		t.Errorf("the status is %+v", rep)
	}

	if err := nodes[1].Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(nodes[1].store.NodeID(), schemas.Down)
	w.collect()
	w.wantLost() // the node that is down may have the data
}

// The number of lost chunks of each version is what a walk through that version alone finds,
// however versions share trees and in whatever order these are read. No tree chunk is read twice.
func TestLostOfManyVersions(t *testing.T) {
	for seed := range uint64(2) {
		w := newWorld(t, 0, Options{CollectEvery: -1})
		n := w.node()
		f := newForest(w, rand.New(rand.NewPCG(seed, 0)))
		if err := n.store.Put(bustest.Context(t), schemas.SealedVault(nickname), f.held); err != nil {
			t.Fatal(err)
		}
		var want []string
		trees := map[schemas.ChunkID]bool{}
		for i := range 40 {
			// The newest, which is read first, has all of the others.
			root := f.trees[len(f.trees)-1-3*(39-i)].ID
			missing := map[schemas.ChunkID]bool{}
			f.walk(root, map[schemas.ChunkID]bool{}, func(c schemas.Chunk) {
				trees[c.ID] = true
				for _, id := range c.Data {
					if f.lost[id] {
						missing[id] = true
					}
				}
			})
			if id := w.enter(nickname, "r", root); len(missing) > 0 {
				want = append(want, fmt.Sprintf("%s %s %d", nickname, id, len(missing)))
			}
		}
		if len(want) < 5 || len(want) > 35 {
			t.Fatalf("%d versions have lost chunks", len(want))
		}
		asked := make(chan *nats.Msg, 1000)
		_, err := w.nc.ChanSubscribe(schemas.EdgesSubject(n.store.NodeID()), asked)
		if err == nil {
			err = w.nc.FlushTimeout(bustest.Timeout)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.mustCollect()
		w.wantLost(want...)
		if err := w.nc.FlushTimeout(bustest.Timeout); err != nil {
			t.Fatal(err)
		}
		read := 0
		for range len(asked) {
			req, err := schemas.DecodeIDs((<-asked).Data)
			if err != nil {
				t.Fatal(err)
			}
			if req.Vault == schemas.SealedVault(nickname) {
				read += len(req.IDs)
			}
		}
		if read != len(trees) {
			t.Errorf("%d tree chunks were read, of %d", read, len(trees))
		}
	}
}

// forest is trees of up to four levels that share many chunks, and a root above all of them. Some
// of their data is lost.
type forest struct {
	trees []schemas.Chunk // the lowest first
	held  []schemas.Chunk
	lost  map[schemas.ChunkID]bool
	byID  map[schemas.ChunkID]schemas.Chunk
}

func newForest(w *world, rng *rand.Rand) *forest {
	f := &forest{lost: map[schemas.ChunkID]bool{}, byID: map[schemas.ChunkID]schemas.Chunk{}}
	var data []schemas.Chunk
	for i := range 400 {
		d := w.Data(10)
		if data = append(data, d); i%10 == 0 {
			f.lost[d.ID] = true
		} else {
			f.held = append(f.held, d)
		}
	}
	some := func(of []schemas.Chunk, most int) (picked []schemas.Chunk) {
		for range rng.IntN(most + 1) {
			picked = append(picked, of[rng.IntN(len(of))])
		}
		return picked
	}
	add := func(edges ...schemas.Chunk) {
		c := w.parentOf(edges...)
		f.trees, f.byID[c.ID] = append(f.trees, c), c
	}
	for level := range 4 {
		lower := slices.Clone(f.trees)
		for range 150 >> level {
			edges := some(data, 4)
			if level > 0 {
				edges = append(some(data, 1), some(lower, 6)...)
			}
			add(edges...)
		}
	}
	add(f.trees...)
	f.held = append(f.held, f.trees...)
	return f
}

// walk visits a tree chunk and all tree chunks below it, except those in seen.
func (f *forest) walk(id schemas.ChunkID, seen map[schemas.ChunkID]bool, visit func(schemas.Chunk)) {
	if seen[id] {
		return
	}
	seen[id] = true
	visit(f.byID[id])
	for _, below := range f.byID[id].Trees {
		f.walk(below, seen, visit)
	}
}

// If more is lost than is remembered, the version that is read first is named nevertheless, and the
// result says that there may be more.
func TestMoreIsLostThanIsRemembered(t *testing.T) {
	for limit, least := range map[int]int64{-1: 1, 1: 1, 2: 2} {
		w := newWorld(t, 1, Options{CollectEvery: -1})
		leaf := w.parentOf(w.Data(10), w.Data(10), w.Data(10))
		root := w.parentOf(leaf)
		w.put(leaf, root)
		w.enter(nickname, "r", root.ID)
		c := w.collectWith(gc.Hooks{DamageLimit: limit}, func(*collecting, string) {})
		rep := w.status()
		if want := []schemas.Lost{{Nickname: nickname, Version: "r@1", Chunks: least}}; c.Error != "" || !slices.Equal(rep.Lost, want) || !rep.LostMore {
			t.Errorf("with the limit %d the result names %+v (more: %v), want %+v and more; %s", limit, rep.Lost, rep.LostMore, want, c.Error)
		}
	}
}
