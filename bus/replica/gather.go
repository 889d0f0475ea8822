package replica

import (
	"slices"

	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
)

// missing is how many more answers would make the chunk, if all goes well.
func (w *wanted) missing() int {
	least := 1
	for i := range w.shards {
		if n := w.shards[i].Part.K() - len(w.code(i)); i == 0 || n < least {
			least = n
		}
	}
	return least
}

// code are the different shards that belong together with shard i: of the same
// code, and of a chunk that was sealed at the same time.
func (w *wanted) code(i int) (shards []schemas.Chunk) {
	of := &w.shards[i]
	var seen [256]bool
	for j := range w.shards {
		s := &w.shards[j]
		if s.Part.K() == of.Part.K() && erasure.SameSeal(s, of) && !seen[s.Part.Shard()] {
			seen[s.Part.Shard()] = true
			shards = append(shards, *s)
		}
	}
	return shards
}

// gather keeps shards until there are enough of them, which are joined.
func (f *fetch) gather(place int, shards []schemas.Chunk) {
	f.mu.Lock()
	w := &f.wanted[place]
	w.shards = append(w.shards, shards...)
	code := w.whole()
	f.mu.Unlock()
	if code == nil {
		return
	}
	c, err := erasure.Join(code, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.deliver(place, &c)
		return
	}
	f.note(err, place)
	w.put(code)
	spare := w.spare
	w.spare = nil
	f.deliver(place, spare)
}

// whole takes enough shards to make the chunk out of what came, unless someone has
// the chunk already; then it is taken.
func (w *wanted) whole() []schemas.Chunk {
	for i := range w.shards {
		code := w.code(i)
		if w.taken || len(code) < w.shards[i].Part.K() {
			continue
		}
		w.taken = true
		w.shards = slices.DeleteFunc(w.shards, func(s schemas.Chunk) bool { return erasure.SameSeal(&s, &code[0]) })
		return code
	}
	return nil
}

// put takes back those of a code, which made something else, that are what was
// sent. If all are, none of them is of use.
func (w *wanted) put(code []schemas.Chunk) {
	good := slices.DeleteFunc(code, func(s schemas.Chunk) bool { return s.Checksum() != s.Sum })
	if len(good) < len(code) {
		w.shards = append(w.shards, good...)
	}
}
