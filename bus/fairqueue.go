package bus

import (
	"strings"
	"sync"
)

// fairQueue runs a bounded number of requests at the same time and decides which request
// runs next when more have arrived: the clients take turns. If requests ran in the order
// of their arrival, a client that sends many would be served with all of them before a
// client whose single request arrives a moment later.
type fairQueue struct {
	mu          sync.Mutex
	free        int                        // idle workers; while there are any, nothing is queued
	queued      map[string][]queuedRequest // by client, in the order of arrival
	order       []string                   // clients with queued requests, in the order of their turns
	queuedBytes int
	spaceFreed  sync.Cond // signalled when a request leaves the queue or a worker becomes idle
}

type queuedRequest struct {
	size   int
	handle func()
}

// maxQueuedBytes bounds the bytes of queued requests; only the last one may exceed it.
// Further requests stay in the connection.
const maxQueuedBytes = 16 << 20

func newFairQueue(workers int) *fairQueue {
	q := &fairQueue{free: workers, queued: map[string][]queuedRequest{}}
	q.spaceFreed.L = &q.mu
	return q
}

// submit arranges that handle, for a request of size bytes, runs in a worker's goroutine
// when it is the client's turn. It blocks while the queue is full.
func (q *fairQueue) submit(client string, size int, handle func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.free == 0 && q.queuedBytes >= maxQueuedBytes {
		q.spaceFreed.Wait()
	}
	if q.free > 0 {
		q.free--
		go q.run(handle)
		return
	}
	if len(q.queued[client]) == 0 {
		q.order = append(q.order, client)
	}
	q.queued[client] = append(q.queued[client], queuedRequest{size, handle})
	q.queuedBytes += size
}

// run handles one request, and then queued ones until the queue is empty.
func (q *fairQueue) run(handle func()) {
	for handle != nil {
		handle()
		handle = q.next()
	}
}

// next removes the next request from the queue. It returns nil when the queue is empty,
// and counts the worker as idle.
func (q *fairQueue) next() (handle func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.spaceFreed.Broadcast()
	if len(q.order) == 0 {
		q.free++
		return nil
	}
	client := q.order[0]
	q.order = q.order[1:]
	first, rest := q.queued[client][0], q.queued[client][1:]
	if len(rest) > 0 {
		q.queued[client] = rest
		q.order = append(q.order, client)
	} else {
		delete(q.queued, client)
	}
	q.queuedBytes -= first.size
	return first.handle
}

// inboxOf identifies the client that waits for an answer at reply. A NATS client has one
// inbox for a connection and adds a last token for each request.
func inboxOf(reply string) string {
	return reply[:max(strings.LastIndexByte(reply, '.'), 0)]
}
