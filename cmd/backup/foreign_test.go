//go:build unix

package main

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/vmihailenco/msgpack/v5"
)

// foreignNode is a storage node that stores chunks in a map and uses only the protocol.
type foreignNode struct {
	*wire
	full atomic.Bool

	mu     sync.Mutex
	stored map[string]any // by id
}

// serve answers puts and gets as the node foreign1.
func (n *foreignNode) serve() {
	n.Helper()
	n.answer("storage.put.foreign1", n.put)
	n.answer("storage.get.foreign1", n.get)
}

// answer handles requests on a subject. It must not end the test from the connection's
// goroutine, so it does not answer a request that it cannot read.
func (n *foreignNode) answer(subject string, handle func(fields) fields) {
	n.Helper()
	_, err := n.nc.Subscribe(subject, func(m *nats.Msg) {
		var request fields
		if err := msgpack.Unmarshal(m.Data, &request); err != nil {
			n.Errorf("%s: %v", subject, err)
			return
		}
		b, err := msgpack.Marshal(handle(request))
		if err == nil {
			err = m.Respond(b)
		}
		if err != nil {
			n.Errorf("%s: %v", subject, err)
		}
	})
	if err == nil {
		err = n.nc.FlushWithContext(n.ctx)
	}
	if err != nil {
		n.Fatal(err)
	}
}

func (n *foreignNode) put(request fields) fields {
	reply := fields{"status": wireSuccess, "node": "foreign1", "window": 1 << 20}
	if n.full.Load() {
		reply["status"], reply["code"], reply["message"] = wireStorage, "disk-full", "no room here"
		return reply
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	chunks, _ := request["chunks"].([]any)
	for _, c := range chunks {
		chunk, _ := c.(map[string]any)
		id, _ := chunk["id"].([]byte)
		chunk["id_arquivo"] = id
		delete(chunk, "id")
		n.stored[string(id)] = chunk
	}
	return reply
}

func (n *foreignNode) get(request fields) fields {
	n.mu.Lock()
	defer n.mu.Unlock()
	chunks := []any{}
	ids, _ := request["id_arquivo"].([]byte)
	for ; len(ids) >= 32; ids = ids[32:] {
		if c, ok := n.stored[string(ids[:32])]; ok {
			chunks = append(chunks, c)
		}
	}
	return fields{"status": wireSuccess, "chunks": chunks, "failed": []any{}}
}
