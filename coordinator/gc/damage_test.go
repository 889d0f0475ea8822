package gc

import (
	"strings"
	"testing"

	"servidor-backup/schemas"
)

// A tree chunk that must be descended again while it is open is read once more, but does not
// wait twice at a time.
func TestFrameIsEnteredAgain(t *testing.T) {
	d := newDescent(&marker{damages: newDamages(0)}, schemas.VaultID{})
	f := d.enter(schemas.ChunkID{1})
	if d.enter(f.id) != f || len(d.stack) != 1 || f.pending != 1 {
		t.Errorf("the frame is on the stack %d times, and %d things are pending", len(d.stack), f.pending)
	}
	d.stack, f.waiting = nil, false
	if d.enter(f.id) != f || len(d.stack) != 1 || f.pending != 2 {
		t.Errorf("after it was read the frame is on the stack %d times, and %d things are pending", len(d.stack), f.pending)
	}
}

// Of very many versions that have lost chunks as many are named as fit into a message.
func TestMoreVersionsHaveLostChunksThanAreNamed(t *testing.T) {
	for name, want := range map[string]int{"r": maxLost, strings.Repeat("r", schemas.MaxName): maxLostNames / (schemas.MaxName + 10)} {
		var res Result
		for i := range maxLost {
			r := root{nickname: "ana", version: schemas.VersionID(name, uint64(i+1))}
			report(&res, r, nil, false)
			for range 2 {
				report(&res, r, &damage{lost: make([]schemas.ChunkID, 1)}, false)
			}
		}
		if want == maxLost && res.LostMore {
			t.Error("the result says that there are more versions than were reported")
		}
		report(&res, root{nickname: "ana", version: "s@1"}, &damage{}, false)
		b, err := schemas.Marshal(&res)
		if err != nil || !res.LostMore || len(res.Lost) < want || len(res.Lost) > want+want/100 || len(b) > 1<<20 {
			t.Errorf("%d of %d versions are named, in %d bytes (more: %v), %v", len(res.Lost), maxLost+1, len(b), res.LostMore, err)
		}
	}
}
