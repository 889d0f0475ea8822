package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
)

// badReplica is an error of the one who was given a chunk.
type badReplica struct{ error }

func (e badReplica) Unwrap() error { return e.error }

// BadReplica is what the receiver of a chunk answers if it is not what it should be:
// another holder is asked, and err is what is said if there is none.
func BadReplica(err error) error { return badReplica{err} }

// Fetch fetches chunks, or only their edges, and calls got for each, in any
// order, from several goroutines; place is the chunk's place in ids. A chunk
// aliases the message that brought it and may be kept. Of a chunk's owners the one
// that is expected to answer first is asked, and if its answer is late another one
// too. What comes as shards is joined. What no node can deliver is an
// *[schemas.Error] that names it, [schemas.NotHeld] or [schemas.Corrupt].
func (h *Reader) Fetch(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID, edgesOnly bool, got func(place int, c *schemas.Chunk) error) error {
	f := &fetch{h: h, vault: vault, ids: ids, edgesOnly: edgesOnly, got: got, caller: ctx, open: len(ids), wanted: make([]wanted, len(ids))}
	f.ctx, f.cancel = context.WithCancel(ctx)
	defer f.cancel()
	v := h.view.Load()
	d := v.m.DurabilityOf(vault)
	n := d.Nodes()
	owners := make([]schemas.NodeID, 0, len(ids)*min(n, v.sources.Len()))
	for i, id := range ids {
		begin := len(owners)
		owners = v.sources.Place(owners, id, n)
		f.wanted[i].nodes = owners[begin:len(owners):len(owners)]
		f.wanted[i].first = min(d.Replicas(), len(f.wanted[i].nodes))
	}
	f.mu.Lock()
	if v.sources.Len() == 0 {
		f.note(errNoNode, places(len(ids))...)
	}
	f.step()
	f.mu.Unlock()
	f.work.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case f.err != nil:
		return f.err
	case f.open > 0:
		return f.failure(v)
	}
	return nil
}

func places(n int) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = i
	}
	return at
}

// fetch is one call of Chunks.
type fetch struct {
	h         *Reader
	vault     schemas.VaultID
	ids       []schemas.ChunkID
	edgesOnly bool
	got       func(int, *schemas.Chunk) error
	caller    context.Context
	ctx       context.Context // ends when nothing more is needed
	cancel    context.CancelFunc
	work      sync.WaitGroup

	mu     sync.Mutex
	wanted []wanted
	open   int   // chunks that were not handed out yet
	fresh  int   // questions under way that are not late
	err    error // of got
	silent error // why nodes were not heard when chunks were looked for
}

// wanted is a chunk that is asked for.
type wanted struct {
	nodes    []schemas.NodeID // that may have it; the first asked were asked
	asked    int
	first    int  // so many would have a copy, if that is what is kept of it
	fresh    int  // questions for it that are not late
	searched bool // all nodes were asked who has it
	taken    bool // it is being handed out, or was
	done     bool // it was
	shards   []schemas.Chunk
	spare    *schemas.Chunk // came while another copy was being handed out
	problem  error          // why it has not come yet
}

// step asks further nodes for what no question is under way that is expected to
// bring it. When nobody is left to be asked, all are asked who has it. The caller
// holds the lock.
func (f *fetch) step() {
	if f.ctx.Err() != nil {
		return
	}
	chosen := map[schemas.NodeID][]int{}
	for place := range f.wanted {
		w := &f.wanted[place]
		if w.taken {
			continue
		}
		for n := w.missing() - w.fresh; n > 0 && w.asked < len(w.nodes); n-- {
			rest := w.nodes[w.asked:]
			if len(w.shards) == 0 && w.asked < w.first {
				rest = w.nodes[w.asked:w.first]
			}
			best := f.h.pulses.best(rest, chosen)
			rest[0], rest[best] = rest[best], rest[0]
			chosen[rest[0]] = append(chosen[rest[0]], place)
			w.asked++
			w.fresh++
		}
	}
	for node, at := range chosen {
		f.fresh++
		f.work.Go(func() { f.from(node, at) })
	}
	if f.fresh > 0 {
		return
	}
	var lost []int
	for place := range f.wanted {
		if w := &f.wanted[place]; !w.taken && !w.searched {
			w.searched = true
			lost = append(lost, place)
		}
	}
	if len(lost) > 0 {
		f.fresh++
		f.work.Go(func() { f.search(lost) })
	}
}

// search asks all nodes who has chunks that their owners did not deliver.
func (f *fetch) search(at []int) {
	ids, where := pick(f.ids, at), make([][]schemas.NodeID, len(at))
	var all sync.WaitGroup
	var mu sync.Mutex
	var silent error
	for _, n := range f.h.Map().Nodes {
		if !n.State.Reachable() {
			continue
		}
		all.Go(func() {
			err := f.h.askHave(f.ctx, n.ID, f.vault, ids, !f.edgesOnly, true, func(i int, _ schemas.Part) {
				mu.Lock()
				defer mu.Unlock()
				where[i] = append(where[i], n.ID)
			})
			mu.Lock()
			defer mu.Unlock()
			silent = errors.Join(silent, err)
		})
	}
	all.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent = errors.Join(f.silent, silent)
	for i, place := range at {
		w := &f.wanted[place]
		for _, node := range where[i] {
			if !slices.Contains(w.nodes, node) {
				w.nodes = append(w.nodes, node)
			}
		}
	}
	f.fresh--
	f.step()
}

// from asks one node for the chunks in the given places until each has come or
// failed.
func (f *fetch) from(node schemas.NodeID, at []int) {
	late := false
	for len(at) > 0 {
		ask := at[:min(len(at), MaxIDs)]
		rep, err := f.ask(node, ask, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			late = f.hedge(at, late)
		})
		if err == nil && len(rep.Chunks)+len(rep.Failed) == 0 {
			err = schemas.Errorf(schemas.Internal, "node %s answered a request for chunks with nothing", node)
		}
		rest := []int(nil)
		if err == nil {
			rest, err = f.take(node, rep, at)
		} else {
			if f.ctx.Err() == nil {
				f.h.pulses.avoid(node)
			}
			err = fmt.Errorf("storage node %s: %w", node, err)
		}
		at = f.answered(at, rest, err, late)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !late {
		f.fresh--
	}
	f.step()
}

// hedge notes that an answer is late, if others can be asked instead.
func (f *fetch) hedge(at []int, late bool) bool {
	others := false
	for _, place := range at {
		w := &f.wanted[place]
		others = others || !w.taken && w.asked < len(w.nodes)
	}
	if late || !others || f.ctx.Err() != nil {
		return late
	}
	for _, place := range at {
		f.wanted[place].fresh--
	}
	f.fresh--
	f.step()
	return true
}

// answered notes what came of a question, and returns what must be asked again.
func (f *fetch) answered(at, rest []int, err error, late bool) (again []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return nil
	}
	if err != nil {
		f.note(err, at...)
		rest = nil
	}
	stays := 0
	for _, place := range at {
		if stays < len(rest) && rest[stays] == place {
			stays++
			if !f.wanted[place].taken {
				again = append(again, place)
				continue
			}
		}
		if !late {
			f.wanted[place].fresh--
		}
	}
	if len(again) > 0 {
		f.step()
	}
	return again
}

// ask sends one request; late is called, once, while the answer is awaited for
// longer than usual.
func (f *fetch) ask(node schemas.NodeID, at []int, late func()) (*schemas.ChunksReply, error) {
	subject := schemas.GetSubject(node)
	if f.edgesOnly {
		subject = schemas.EdgesSubject(node)
	}
	begin := time.Now()
	patience := f.h.pulses.begin(node, len(at))
	var alarm sync.WaitGroup
	alarm.Add(1)
	timer := time.AfterFunc(patience, func() {
		defer alarm.Done()
		f.h.pulses.avoid(node)
		late()
	})
	b, err := f.h.request(f.ctx, node, subject, &schemas.IDsRequest{Vault: f.vault, IDs: pick(f.ids, at)})
	if timer.Stop() {
		alarm.Done()
	}
	alarm.Wait() // so that what it says is known from here on
	f.h.pulses.end(node, len(at), time.Since(begin), err == nil)
	if err != nil {
		return nil, err
	}
	return schemas.DecodeChunks(b)
}

// take hands out what came and returns the places, in order, that must be asked
// for again.
func (f *fetch) take(node schemas.NodeID, rep *schemas.ChunksReply, at []int) (rest []int, err error) {
	came := make(map[schemas.ChunkID]*schemas.Chunk, len(rep.Chunks))
	var shards map[schemas.ChunkID][]schemas.Chunk
	for i := range rep.Chunks {
		c := &rep.Chunks[i]
		f.h.bytes.Add(int64(c.Size()))
		if c.Part == schemas.Whole {
			came[c.ID] = c
			continue
		}
		if shards == nil {
			shards = map[schemas.ChunkID][]schemas.Chunk{}
		}
		shards[c.ID] = append(shards[c.ID], *c)
	}
	failed := make(map[schemas.ChunkID]error, len(rep.Failed))
	for _, x := range rep.Failed {
		failed[x.ID] = fmt.Errorf("storage node %s: %w", node, &schemas.Error{Code: x.Code, Message: x.Message})
	}
	for _, place := range at {
		id := f.ids[place]
		switch {
		case came[id] != nil:
			f.hand(place, came[id])
		case shards[id] != nil:
			f.gather(place, shards[id])
		case failed[id] != nil:
			f.mu.Lock()
			f.note(failed[id], place)
			f.mu.Unlock()
		default:
			rest = append(rest, place)
		}
	}
	if len(rest) == len(at) {
		return nil, schemas.Errorf(schemas.Internal, "storage node %s answers with chunks nobody asked for", node)
	}
	return rest, nil
}

// hand gives a whole chunk to the receiver, if that does not have it yet.
func (f *fetch) hand(place int, c *schemas.Chunk) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &f.wanted[place]
	if w.taken && !w.done {
		w.spare = c
	}
	if w.taken || f.ctx.Err() != nil {
		return
	}
	w.taken = true
	f.deliver(place, c)
}

// deliver gives the receiver a chunk that is taken, and if it is bad another copy
// that came meanwhile. The caller holds the lock, which is open while the receiver
// works.
func (f *fetch) deliver(place int, c *schemas.Chunk) {
	w := &f.wanted[place]
	for ; c != nil; c, w.spare = w.spare, nil {
		f.mu.Unlock()
		err := f.got(place, c)
		f.mu.Lock()
		var bad badReplica
		if errors.As(err, &bad) {
			f.note(bad.error, place)
			continue
		}
		f.settle(w, err)
		return
	}
	w.taken = false
}

// settle ends the search for a chunk; err is what the receiver says. The caller
// holds the lock.
func (f *fetch) settle(w *wanted, err error) {
	w.done, w.shards = true, nil
	f.open--
	f.err = errors.Join(f.err, err)
	if f.open == 0 || err != nil {
		f.cancel() // what is late is not needed any more
	}
}

// note remembers why chunks did not come. That a chunk is damaged says more than
// that another node never had it. The caller holds the lock.
func (f *fetch) note(err error, at ...int) {
	for _, place := range at {
		w := &f.wanted[place]
		if w.problem == nil || schemas.CodeOf(err) != schemas.NotHeld {
			w.problem = err
		}
	}
}

// failure tells of the first chunk that did not come, and of the nodes that
// might have had it.
//
// As long as some nodes were not heard, a chunk that no other node holds is not lost.
func (f *fetch) failure(v *view) error {
	var away []string
	for _, n := range v.m.Nodes {
		if !n.State.Reachable() {
			away = append(away, fmt.Sprintf("%s is %s", n.Name, n.State))
		}
	}
	for place := range f.wanted {
		w := &f.wanted[place]
		if w.taken {
			continue
		}
		err := w.problem
		if err == nil {
			err = schemas.Errorf(schemas.NotHeld, "no storage node has it")
		}
		if len(w.shards) > 0 && schemas.CodeOf(err) == schemas.NotHeld {
			_, err = erasure.Join(w.shards, nil)
		}
		if f.silent != nil && schemas.CodeOf(err) == schemas.NotHeld {
			err = f.silent
		}
		if len(away) > 0 {
			return fmt.Errorf("chunk %s: %w (%s)", f.ids[place].Short(), err, strings.Join(away, ", "))
		}
		return fmt.Errorf("chunk %s: %w", f.ids[place].Short(), err)
	}
	return nil
}
