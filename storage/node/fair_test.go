package node_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

const (
	sessions = 20
	messages = 60
	size     = 64 << 10 // a window has at least 16 messages of them
)

// Many sessions that send the same amount, each over a connection of its own, are served
// alike: when the first is done, every other one has sent a third at least. A busy machine may
// delay one of the senders, so there are several races; a node that is not fair fails all of
// them.
func TestSessionsAreServedAlike(t *testing.T) {
	least := 0
	for range 3 {
		least = race(t)
		t.Logf("when the first session was done, the slowest had %d of %d messages", least, messages)
		if least >= messages/3 {
			return
		}
	}
	t.Errorf("when the first session was done, another had %d of %d messages, in three races", least, messages)
}

// race lets all sessions send all their messages, and returns how many of the slowest session's
// messages were acknowledged when the first session was done.
func race(t *testing.T) int {
	t.Helper()
	s := bustest.Server(t)
	newRegistrar(t, bustest.Connect(t, s), nil)
	store := storagetest.Open(t, t.TempDir(), storage.Options{})
	start(t, bustest.Connect(t, s), store, node.Options{Budget: 8 << 20})

	// All messages are made beforehand, so that the node alone decides the race.
	content := storagetest.NewMaker(1).Data(size).Content
	var payloads [sessions][messages + 1][]byte
	for i := range payloads {
		for n := range payloads[i] {
			c := schemas.Chunk{ID: schemas.ChunkID{1, byte(i), byte(n)}, Kind: schemas.Data, Content: content}
			c.Sum = c.Checksum()
			m := schemas.NewPut(nil, fmt.Sprintf("session-%d", i), storagetest.Vault)
			m.Add(&c)
			payloads[i][n] = m.Put()
		}
	}
	var acknowledged [sessions]atomic.Int64
	var first sync.Once
	var least int64
	send := func(sender *replica.Writer, session, n int, done func(error)) {
		if err := sender.Send(bustest.Context(t), []schemas.NodeID{store.NodeID()}, payloads[session][n], done); err != nil {
			done(err)
		}
	}
	var ready, begin, all sync.WaitGroup
	begin.Add(1)
	for i := range sessions {
		sender, err := replica.NewWriter(bustest.Connect(t, s), replica.WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sender.Close)
		ready.Add(1)
		all.Add(messages)
		all.Go(func() {
			// The node knows each session before the race begins.
			send(sender, i, messages, func(err error) {
				if err != nil {
					t.Error(err)
				}
				ready.Done()
			})
			begin.Wait()
			for n := range messages {
				send(sender, i, n, func(err error) {
					if err != nil {
						t.Error(err)
					}
					if acknowledged[i].Add(1) == messages {
						first.Do(func() {
							least = messages
							for j := range acknowledged {
								least = min(least, acknowledged[j].Load())
							}
						})
					}
					all.Done()
				})
			}
		})
	}
	ready.Wait()
	begin.Done()
	all.Wait()
	return int(least)
}
