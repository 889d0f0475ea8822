package coordinator

import (
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/coordinator/catalog"
	"servidor-backup/schemas"
)

// checkpoint makes a checkpoint chunk that names chunks and leads to another one, unless that is
// zero; puts it; and enters it.
func (w *world) checkpoint(s *schemas.SessionReply, before schemas.ChunkID, chunks ...schemas.Chunk) schemas.Chunk {
	w.t.Helper()
	c := w.Tree(0, 0, 10)
	if !before.IsZero() {
		c.Trees = []schemas.ChunkID{before}
	}
	for i := range chunks {
		c.Data = append(c.Data, chunks[i].ID)
	}
	c.Sum = c.Checksum()
	w.put(c)
	var rep schemas.SessionReply
	req := &schemas.RenewRequest{Session: s.Session, Token: s.Token, Checkpoint: &schemas.Checkpoint{Root: c.ID, Bytes: int64(len(c.Data))}}
	if err := w.request(schemas.SubjectSessionRenew, req, &rep); err != nil {
		w.t.Fatal(err)
	}
	left := time.Until(time.Unix(0, rep.Checkpoint.Until))
	if rep.Checkpoint.Root != c.ID || left > catalog.CheckpointLife || left < catalog.CheckpointLife-time.Minute {
		w.t.Errorf("the checkpoint is %+v, kept for %v", rep.Checkpoint, left)
	}
	return c
}

// What an unfinished backup has sent outlives collections until a version takes its place, the
// record is forgotten, or it expires. Chunks below those that it names are not needed for it.
func TestCheckpointsOutliveCollections(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"a version": func(w *world) { w.save(opening("r"), w.newTree(1, 1)) },
		"forgotten": func(w *world) {
			if changed := w.forget("r", false); len(changed) != 0 {
				w.t.Errorf("the versions %v were forgotten", changed)
			}
			_, err := w.c.catalog.Forget(bustest.Context(w.t), nickname, "r", 0, false)
			wantCode(w.t, err, schemas.UnknownRecord)
		},
		"expired": func(w *world) {
			var c catalog.Checkpoint
			_, err := w.c.buckets.state.Edit(bustest.Context(w.t), checkpointKey("r"), &c, func() {}, func() (bool, error) {
				c.Updated -= int64(catalog.CheckpointLife)
				return true, nil
			})
			if err != nil {
				w.t.Error(err)
			}
			if s := w.open(opening("r")); s.Checkpoint != nil {
				w.t.Errorf("the next session continues %+v", s.Checkpoint)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, Options{})
			nodes := []*runningNode{w.node()}
			s := w.open(opening("r"))
			first, second := w.newTree(1, 3), w.newTree(2, 3)
			half := second.all[:4] // of the second tree only a part was sent
			w.put(first.all...)
			older := w.checkpoint(s, schemas.ChunkID{}, first.all...)
			w.put(half...)
			newer := w.checkpoint(s, older.ID, half...)
			all := append(append([]schemas.Chunk{older, newer}, first.all...), half...)
			other := w.newTree(1, 3)
			w.put(other.all...)
			w.endSessions()
			for range 2 {
				w.mustCollect()
			}
			w.wantHeld("what was sent", nodes, all, len(all))
			w.wantHeld("what no checkpoint names", nodes, other.all, 0)
			if next := w.open(opening("r")); next.Checkpoint == nil || next.Checkpoint.Root != newer.ID {
				t.Errorf("the next session continues %+v", next.Checkpoint)
			}
			elsewhere := opening("r")
			elsewhere.Source = sourceOf(2)
			if next := w.open(elsewhere); next.Checkpoint != nil {
				t.Errorf("a session from another source continues %+v", next.Checkpoint)
			}
			end(w)
			w.endSessions()
			w.mustCollect()
			w.wantHeld("what was sent", nodes, all, 0)
		})
	}
}

func checkpointKey(record string) string {
	return "checkpoint." + recordKey(nickname, record)[len("record."):]
}

// A tree chunk that a checkpoint names and a version needs is descended for the version.
func TestCheckpointsShareTreesWithVersions(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node()}
	tr := w.newTree(2, 3)
	w.save(opening("saved"), tr)
	s := w.open(opening("a"))
	w.checkpoint(s, schemas.ChunkID{}, append(tr.leaves, tr.all[len(tr.all)-1])...)
	w.endSessions()
	for range 2 {
		w.mustCollect()
	}
	w.wantHeld("the version", nodes, tr.all, len(tr.all))
}

// A checkpoint whose chunks are missing, or that is nonsense, neither fails a collection nor is it
// reported as lost data.
func TestCheckpointsMayMissChunks(t *testing.T) {
	w := newWorld(t, 1, Options{})
	s := w.open(opening("gone"))
	if err := w.request(schemas.SubjectSessionRenew, &schemas.RenewRequest{Session: s.Session,
		Checkpoint: &schemas.Checkpoint{Root: schemas.ChunkID{1}}}, &schemas.SessionReply{}); err != nil {
		t.Fatal(err)
	}
	part := w.open(opening("part"))
	w.checkpoint(part, schemas.ChunkID{2}, w.newTree(1, 2).all...)
	if _, err := w.c.buckets.state.Create(bustest.Context(t), checkpointKey("odd"), "no checkpoint"); err != nil {
		t.Fatal(err)
	}
	w.endSessions()
	w.mustCollect()
	if newest, err := w.c.catalog.Collection(bustest.Context(t)); err != nil || len(newest.Lost) > 0 || newest.LostMore {
		t.Errorf("the collection: %+v, %v", newest, err)
	}
}
