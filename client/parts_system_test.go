package client_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/treetest"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// heldChunk says which parts of a chunk each machine holds.
type heldChunk struct {
	kind    schemas.Kind
	content int // bytes of one part
	parts   map[int][]schemas.Part
}

// holdings returns all chunks of ana's vault that the machines hold.
func holdings(t *testing.T, machines []*machine) map[schemas.ChunkID]*heldChunk {
	t.Helper()
	vault := schemas.SealedVault("ana")
	all := map[schemas.ChunkID]*heldChunk{}
	for i, m := range machines {
		check(t, m.store.Each(bustest.Context(t), storage.Cursor{Vault: vault}, func(h storage.Held) bool {
			if h.Vault != vault {
				return false
			}
			if all[h.ID] == nil {
				all[h.ID] = &heldChunk{kind: h.Kind, content: h.Content, parts: map[int][]schemas.Part{}}
			}
			all[h.ID].parts[i] = append(all[h.ID].parts[i], h.Part)
			return true
		}))
	}
	return all
}

// Under k+m with k > 1, tree chunks and chunks that are too small to be split are stored as
// replicas on m+1 nodes, and all others as shards on k+m nodes. A small file can be restored
// without m of the nodes that hold a replica.
func TestSmallChunksAreReplicated(t *testing.T) {
	for durability, nodes := range map[string]int{"2+1": 4, "4+2": 7} {
		t.Run(durability, func(t *testing.T) {
			d, err := schemas.ParseDurability(durability)
			check(t, err)
			w, machines := newFleet(t, durability, nodes)
			src := filepath.Join(t.TempDir(), "r")
			write(t, filepath.Join(src, "big"), clienttest.Noise(1, 3<<20))
			settle(t, src)
			save(t, w.client(), client.BackupOptions{Paths: []string{src}})
			before := holdings(t, machines)
			small := filepath.Join(t.TempDir(), "small")
			write(t, filepath.Join(small, "file"), clienttest.Noise(2, 40_000))
			settle(t, small)
			save(t, w.client(), client.BackupOptions{Paths: []string{small}})
			var holders map[int][]schemas.Part // of the small file's data
			shards := 0
			for id, h := range holdings(t, machines) {
				var parts []schemas.Part
				for _, held := range h.parts {
					parts = append(parts, held...)
				}
				slices.Sort(parts)
				replicated := len(parts) == d.Replicas() && len(h.parts) == len(parts) && parts[len(parts)-1] == schemas.Whole
				split := len(slices.Compact(slices.Clone(parts))) == d.Nodes() && len(h.parts) == d.Nodes() && parts[0] != schemas.Whole && h.content*int(d.K) >= schemas.MinSplit
				switch {
				case h.kind == schemas.Data && split:
					shards++
				case !replicated || h.kind == schemas.Data && h.content >= schemas.MinSplit:
					t.Errorf("a chunk of kind %v with %d bytes is stored as %v", h.kind, h.content, h.parts)
				}
				if before[id] == nil && h.kind == schemas.Data {
					if holders != nil {
						t.Error("the small file is several chunks")
					}
					holders = h.parts
				}
			}
			if shards < 3 || holders == nil {
				t.Fatalf("%d chunks are shards; the small file is held by %v", shards, holders)
			}
			for _, i := range slices.Sorted(maps.Keys(holders))[:d.M] {
				machines[i].kill()
			}
			to := treetest.TempDir(t)
			for id, path := range map[string]string{"small": small, "r": src} {
				restore(t, w.client(), client.RestoreOptions{ID: id, To: to})
				same(t, path, filepath.Join(to, id))
			}
		})
	}
}

// Two clients that save the same new content at the same time seal it differently, and the shards
// of one cannot be combined with those of the other. Both versions can be restored anyway, also
// without a node.
func TestTwoClientsSealTheSameChunk(t *testing.T) {
	w, machines := newFleet(t, "2+1", 3)
	clients := []*client.Client{w.client(), w.client()}
	src, both := "", 0
	for try := byte(0); both == 0 && try < 20; try++ {
		src = filepath.Join(t.TempDir(), "r")
		write(t, filepath.Join(src, "file"), clienttest.Noise(10+try, 8<<20))
		settle(t, src)
		var saving sync.WaitGroup
		for i, c := range clients {
			saving.Go(func() {
				_, err := c.Backup(t.Context(), client.BackupOptions{Paths: []string{src}, Name: fmt.Sprintf("%d-%d", i, try)})
				check(t, err)
			})
		}
		saving.Wait()
		for _, h := range holdings(t, machines) {
			stripes := map[schemas.Part]bool{}
			for _, parts := range h.parts {
				for _, p := range parts {
					stripes[p.Stripe()] = true
				}
			}
			if len(stripes) > 1 {
				both++
			}
		}
		if both == 0 {
			continue
		}
		t.Logf("at try %d, %d chunks were sealed twice", try, both)
		for _, without := range []bool{false, true} {
			if without {
				machines[0].kill()
			}
			for i := range clients {
				to := treetest.TempDir(t)
				restore(t, w.client(), client.RestoreOptions{ID: fmt.Sprintf("%d-%d", i, try), To: to})
				same(t, src, filepath.Join(to, "r"))
			}
		}
	}
	if both == 0 {
		t.Error("no chunk was ever sealed twice")
	}
}
