package bus

import (
	"strings"
	"sync"
)

// turns says which request is handled next while more have come than can be
// handled side by side: those who ask take turns. In the order in which requests
// come, who begins with many would be served with all of them before anybody who
// comes a moment later.
type turns struct {
	mu      sync.Mutex
	free    int // how many more can be handled now; if any, none is waiting
	waiting map[string][]turn
	askers  []string // whose requests are waiting, the next one first
	bytes   int      // of what is waiting
	room    sync.Cond
}

type turn struct {
	size   int
	handle func()
}

// maxWaiting bounds the bytes of requests that are waiting, but for the last;
// what comes then is left in the connection.
const maxWaiting = 16 << 20

func newTurns(workers int) *turns {
	t := &turns{free: workers, waiting: map[string][]turn{}}
	t.room.L = &t.mu
	return t
}

// take has a request of so many bytes handled in a goroutine of its own when it
// is the asker's turn. It blocks while too many are waiting.
func (t *turns) take(asker string, size int, handle func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.free == 0 && t.bytes >= maxWaiting {
		t.room.Wait()
	}
	if t.free > 0 {
		t.free--
		go t.work(handle)
		return
	}
	if len(t.waiting[asker]) == 0 {
		t.askers = append(t.askers, asker)
	}
	t.waiting[asker] = append(t.waiting[asker], turn{size, handle})
	t.bytes += size
}

// work handles one request, and then others for as long as any are waiting.
func (t *turns) work(handle func()) {
	for handle != nil {
		handle()
		handle = t.next()
	}
}

func (t *turns) next() (handle func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.room.Broadcast()
	if len(t.askers) == 0 {
		t.free++
		return nil
	}
	asker := t.askers[0]
	t.askers = t.askers[1:]
	first, rest := t.waiting[asker][0], t.waiting[asker][1:]
	if len(rest) > 0 {
		t.waiting[asker] = rest
		t.askers = append(t.askers, asker)
	} else {
		delete(t.waiting, asker)
	}
	t.bytes -= first.size
	return first.handle
}

// askerOf is who waits for an answer at reply: NATS clients have one inbox for a
// connection, and a last token for each request.
func askerOf(reply string) string {
	return reply[:max(strings.LastIndexByte(reply, '.'), 0)]
}
