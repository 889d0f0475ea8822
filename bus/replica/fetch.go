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

// badReplica is an error of the function that receives fetched chunks.
type badReplica struct{ error }

func (e badReplica) Unwrap() error { return e.error }

// BadReplica is the error that the receiver of a chunk returns if the chunk is damaged.
// [Reader.Fetch] then asks another node that holds the chunk, and returns err if there is
// none.
func BadReplica(err error) error { return badReplica{err} }

// Fetch fetches chunks, or only their edges, and calls receive for each, in any
// order, from several goroutines; index is the chunk's index in ids. A chunk
// aliases the message that brought it and may be kept.
//
// Of the nodes that placement ranks first among those it can reach, Fetch asks the one that
// usually responds first, and another one too if the response is late. It joins shards to
// chunks. For a chunk that no node can deliver, it returns an error that names the chunk,
// usually with the code [schemas.NotHeld] or [schemas.Corrupt]. An error of receive ends the
// fetch, except [BadReplica].
func (r *Reader) Fetch(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID, edgesOnly bool, receive func(index int, c *schemas.Chunk) error) error {
	f := &fetch{reader: r, vault: vault, ids: ids, edgesOnly: edgesOnly, receive: receive, remaining: len(ids), requests: make([]chunkRequest, len(ids))}
	f.ctx, f.cancel = context.WithCancel(ctx)
	defer f.cancel()
	v := r.view.Load()
	d := v.m.DurabilityOf(vault)
	n := d.Nodes()
	ranked := make([]schemas.NodeID, 0, len(ids)*min(n, v.sources.Len()))
	for i, id := range ids {
		begin := len(ranked)
		ranked = v.sources.Place(ranked, id, n)
		f.requests[i].nodes = ranked[begin:len(ranked):len(ranked)]
		f.requests[i].replicaNodes = min(d.Replicas(), len(f.requests[i].nodes))
	}
	f.mu.Lock()
	if v.sources.Len() == 0 {
		f.recordFailure(errNoNode, allIndexes(len(ids))...)
	}
	f.askMore()
	f.mu.Unlock()
	f.work.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case f.err != nil:
		return f.err
	case f.remaining > 0:
		return f.failure(v)
	}
	return nil
}

func allIndexes(n int) []int {
	indexes := make([]int, n)
	for i := range indexes {
		indexes[i] = i
	}
	return indexes
}

// fetch is one call of [Reader.Fetch]. An index is a chunk's index in ids and in requests.
type fetch struct {
	reader    *Reader
	vault     schemas.VaultID
	ids       []schemas.ChunkID
	edgesOnly bool
	receive   func(int, *schemas.Chunk) error
	ctx       context.Context // ends when nothing more is needed
	cancel    context.CancelFunc
	work      sync.WaitGroup

	mu        sync.Mutex
	requests  []chunkRequest
	remaining int   // chunks that have not been delivered
	onTime    int   // requests to nodes under way that are not late
	err       error // of receive
	searchErr error // of nodes that did not respond when all were asked for chunks
}

// chunkRequest is the state of one chunk of a fetch.
type chunkRequest struct {
	nodes        []schemas.NodeID // that may hold the chunk; nodes[:asked] have been asked
	asked        int
	replicaNodes int  // nodes[:replicaNodes] hold the replicas, if the chunk is stored as replicas
	onTime       int  // requests for it under way that are not late
	searched     bool // all nodes were asked whether they hold it
	claimed      bool // it is being delivered, or has been
	delivered    bool
	shards       []schemas.Chunk
	alternate    *schemas.Chunk // another replica, which came while one was being delivered
	failure      error          // why it has not come yet
}

// askMore asks further nodes for each chunk whose requests that are not late would not bring
// enough parts. When a chunk has no node left to ask, it starts a search for the chunk on all
// nodes. The caller holds the lock.
func (f *fetch) askMore() {
	if f.ctx.Err() != nil {
		return
	}
	chosen := map[schemas.NodeID][]int{}
	for index := range f.requests {
		req := &f.requests[index]
		if req.claimed {
			continue
		}
		for n := req.stillNeeded() - req.onTime; n > 0 && req.asked < len(req.nodes); n-- {
			rest := req.nodes[req.asked:]
			if len(req.shards) == 0 && req.asked < req.replicaNodes {
				rest = req.nodes[req.asked:req.replicaNodes]
			}
			best := f.reader.latencies.bestNode(rest, chosen)
			rest[0], rest[best] = rest[best], rest[0]
			chosen[rest[0]] = append(chosen[rest[0]], index)
			req.asked++
			req.onTime++
		}
	}
	for node, indexes := range chosen {
		f.onTime++
		f.work.Go(func() { f.fetchFrom(node, indexes) })
	}
	if f.onTime > 0 {
		return
	}
	var exhausted []int
	for index := range f.requests {
		if req := &f.requests[index]; !req.claimed && !req.searched {
			req.searched = true
			exhausted = append(exhausted, index)
		}
	}
	if len(exhausted) > 0 {
		f.onTime++
		f.work.Go(func() { f.search(exhausted) })
	}
}

// search asks all nodes which of them hold the chunks that the nodes ranked first did not
// deliver.
func (f *fetch) search(indexes []int) {
	ids, holders := pick(f.ids, indexes), make([][]schemas.NodeID, len(indexes))
	var all sync.WaitGroup
	var mu sync.Mutex
	var failures error
	for _, n := range f.reader.Map().Nodes {
		if !n.State.Reachable() {
			continue
		}
		all.Go(func() {
			err := f.reader.askHave(f.ctx, n.ID, f.vault, ids, !f.edgesOnly, true, func(i int, _ schemas.Part) {
				mu.Lock()
				defer mu.Unlock()
				holders[i] = append(holders[i], n.ID)
			})
			mu.Lock()
			defer mu.Unlock()
			failures = errors.Join(failures, err)
		})
	}
	all.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.searchErr = errors.Join(f.searchErr, failures)
	for i, index := range indexes {
		req := &f.requests[index]
		for _, node := range holders[i] {
			if !slices.Contains(req.nodes, node) {
				req.nodes = append(req.nodes, node)
			}
		}
	}
	f.onTime--
	f.askMore()
}

// fetchFrom asks one node for chunks until each has come or failed.
func (f *fetch) fetchFrom(node schemas.NodeID, indexes []int) {
	late, size := false, MaxIDs
	for len(indexes) > 0 {
		batch := indexes[:min(len(indexes), size)]
		rep, err := f.request(node, batch, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			late = f.hedge(indexes, late)
		})
		if err == nil && len(rep.Chunks)+len(rep.Failed) == 0 {
			err = schemas.Errorf(schemas.Internal, "node %s answered a request for chunks with none", node)
		}
		var bad undecodable
		if errors.As(err, &bad) && len(batch) > 1 {
			size = len(batch) / 2 // one chunk must not cost the others that would come with it
			continue
		}
		if errors.As(err, &bad) {
			err = schemas.Errorf(schemas.Corrupt, "the answer of storage node %s cannot be read: %v", node, bad.error)
			f.recordAnswer(batch, nil, err, late)
			indexes = indexes[1:]
			continue
		}
		size = min(2*size, MaxIDs)
		rest := []int(nil)
		if err == nil {
			rest, err = f.accept(node, rep, indexes)
		} else {
			if f.ctx.Err() == nil {
				f.reader.latencies.shun(node)
			}
			err = fmt.Errorf("storage node %s: %w", node, err)
		}
		indexes = f.recordAnswer(indexes, rest, err, late)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !late {
		f.onTime--
	}
	f.askMore()
}

// hedge is called when an answer is late. If other nodes can be asked for some of the
// chunks, it asks them and returns true: the request counts as late from then on.
func (f *fetch) hedge(indexes []int, late bool) bool {
	others := false
	for _, index := range indexes {
		req := &f.requests[index]
		others = others || !req.claimed && req.asked < len(req.nodes)
	}
	if late || !others || f.ctx.Err() != nil {
		return late
	}
	for _, index := range indexes {
		f.requests[index].onTime--
	}
	f.onTime--
	f.askMore()
	return true
}

// recordAnswer records the outcome of a request for the chunks at indexes, of which rest, a
// subsequence, are neither delivered nor failed. It returns those that the same node must
// be asked for again.
func (f *fetch) recordAnswer(indexes, rest []int, err error, late bool) (again []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return nil
	}
	if err != nil {
		f.recordFailure(err, indexes...)
		rest = nil
	}
	next := 0
	for _, index := range indexes {
		if next < len(rest) && rest[next] == index {
			next++
			if !f.requests[index].claimed {
				again = append(again, index)
				continue
			}
		}
		if !late {
			f.requests[index].onTime--
		}
	}
	if len(again) > 0 {
		f.askMore()
	}
	return again
}

// request sends one request. It calls late, once, if the answer takes longer than the
// node's answers usually do.
func (f *fetch) request(node schemas.NodeID, indexes []int, late func()) (*schemas.ChunksReply, error) {
	subject := schemas.GetSubject(node)
	if f.edgesOnly {
		subject = schemas.EdgesSubject(node)
	}
	begin := time.Now()
	lateAfter := f.reader.latencies.start(node, len(indexes))
	var alarm sync.WaitGroup
	alarm.Add(1)
	timer := time.AfterFunc(lateAfter, func() {
		defer alarm.Done()
		f.reader.latencies.shun(node)
		late()
	})
	b, err := f.reader.request(f.ctx, node, subject, (&schemas.IDsRequest{Vault: f.vault, IDs: pick(f.ids, indexes)}).Encode())
	if timer.Stop() {
		alarm.Done()
	}
	alarm.Wait() // the caller reads what late has set
	f.reader.latencies.finish(node, len(indexes), time.Since(begin), err == nil)
	if err != nil {
		return nil, err
	}
	rep, err := schemas.DecodeChunks(b)
	if err != nil && rep == nil {
		return nil, undecodable{err}
	}
	return rep, err
}

// undecodable is the error about an answer that is no message.
type undecodable struct{ error }

// accept delivers the chunks of an answer and returns, in order, the indexes of the chunks
// that the answer says nothing about.
func (f *fetch) accept(node schemas.NodeID, rep *schemas.ChunksReply, indexes []int) (rest []int, err error) {
	whole := make(map[schemas.ChunkID]*schemas.Chunk, len(rep.Chunks))
	var shards map[schemas.ChunkID][]schemas.Chunk
	for i := range rep.Chunks {
		c := &rep.Chunks[i]
		f.reader.bytes.Add(int64(c.Size()))
		if c.Part == schemas.Whole {
			whole[c.ID] = c
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
	for _, index := range indexes {
		id := f.ids[index]
		switch {
		case whole[id] != nil:
			f.offer(index, whole[id])
		case shards[id] != nil:
			f.gather(index, shards[id])
		case failed[id] != nil:
			f.mu.Lock()
			f.recordFailure(failed[id], index)
			f.mu.Unlock()
		default:
			rest = append(rest, index)
		}
	}
	if len(rest) == len(indexes) {
		return nil, schemas.Errorf(schemas.Internal, "storage node %s answered with chunks that were not requested", node)
	}
	return rest, nil
}

// offer delivers a whole chunk, unless the receiver has it already. While another replica
// of it is being delivered, the chunk becomes the alternate.
func (f *fetch) offer(index int, c *schemas.Chunk) {
	f.mu.Lock()
	defer f.mu.Unlock()
	req := &f.requests[index]
	if req.claimed && !req.delivered {
		req.alternate = c
	}
	if req.claimed || f.ctx.Err() != nil {
		return
	}
	req.claimed = true
	f.deliver(index, c)
}

// deliver calls the receiver with a claimed chunk, and if the receiver finds it bad, with
// the alternate that has come meanwhile. c may be nil. The caller holds the lock, which
// deliver releases during the call.
func (f *fetch) deliver(index int, c *schemas.Chunk) {
	req := &f.requests[index]
	for ; c != nil; c, req.alternate = req.alternate, nil {
		f.mu.Unlock()
		err := f.receive(index, c)
		f.mu.Lock()
		var bad badReplica
		if errors.As(err, &bad) {
			f.recordFailure(bad.error, index)
			continue
		}
		f.complete(req, err)
		return
	}
	req.claimed = false
}

// complete records that a chunk was delivered; err is the receiver's. The caller holds the
// lock.
func (f *fetch) complete(req *chunkRequest, err error) {
	req.delivered, req.shards = true, nil
	f.remaining--
	f.err = errors.Join(f.err, err)
	if f.remaining == 0 || err != nil {
		f.cancel() // late answers are not needed any more
	}
}

// recordFailure records why chunks did not come. That a chunk is damaged on one node says
// more than that another node does not hold it. The caller holds the lock.
func (f *fetch) recordFailure(err error, indexes ...int) {
	for _, index := range indexes {
		req := &f.requests[index]
		if req.failure == nil || schemas.CodeOf(err) != schemas.NotHeld {
			req.failure = err
		}
	}
}

// failure returns an error about the first chunk that did not come. It also names the nodes
// that are not reachable and might hold the chunk.
//
// As long as some nodes have not responded, a chunk that no other node holds is not reported
// as not held.
func (f *fetch) failure(v *view) error {
	var unreachable []string
	for _, n := range v.m.Nodes {
		if !n.State.Reachable() {
			unreachable = append(unreachable, fmt.Sprintf("%s is %s", n.Name, n.State))
		}
	}
	for index := range f.requests {
		req := &f.requests[index]
		if req.claimed {
			continue
		}
		err := req.failure
		if err == nil {
			err = schemas.Explain(schemas.NotHeld, "no-node-has-it", "no storage node has it")
		}
		if len(req.shards) > 0 && schemas.CodeOf(err) == schemas.NotHeld {
			_, err = erasure.Join(req.shards, nil)
		}
		if f.searchErr != nil && schemas.CodeOf(err) == schemas.NotHeld {
			err = f.searchErr
		}
		if len(unreachable) > 0 {
			return fmt.Errorf("chunk %s: %w (%s)", f.ids[index].Short(), err, strings.Join(unreachable, ", "))
		}
		return fmt.Errorf("chunk %s: %w", f.ids[index].Short(), err)
	}
	return nil
}
