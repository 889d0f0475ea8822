package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// nats.go tries one server after the other, and would wait for dialTimeout for each
// whose host is off or cut off, as that says nothing. So a dial that gets no answer at
// once goes on beside those to the next servers, and if none of them is right, the server
// that answers it late is tried after all. No server is dialed twice, and none beside one
// that answers.

// dialTurn is for how long a dial is waited for before the next one begins.
const dialTurn = 250 * time.Millisecond

// firstDials are the dials for a connection that is being made. Once there is one, it
// dials like any other.
type firstDials struct {
	ctx   context.Context
	mu    sync.Mutex
	ended *sync.Cond            // one of them has
	begun map[string]*firstDial // by address
	over  bool
}

type firstDial struct {
	since time.Time
	done  chan struct{}
	conn  net.Conn // nil if it failed, or was handed out
	err   error
	again bool // the servers are tried again for it
}

// errDialed says that a server was connected to before, which came to nothing.
var errDialed = errors.New("the server was tried already")

// connect is nats.Connect with dials beside each other.
func connect(url string, options []nats.Option) (*nats.Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := &firstDials{ctx: ctx, begun: map[string]*firstDial{}}
	d.ended = sync.NewCond(&d.mu)
	defer d.end()
	options = append(options, nats.SetCustomDialer(d))
	nc, err := nats.Connect(url, options...)
	for err != nil && d.answered() {
		if late, cause := nats.Connect(url, options...); cause == nil {
			return late, nil
		}
	}
	return nc, err
}

// Dial is for nats.go.
func (d *firstDials) Dial(network, address string) (net.Conn, error) {
	f := d.dial(network, address)
	if f == nil {
		return net.DialTimeout(network, address, dialTimeout)
	}
	turn := time.NewTimer(time.Until(f.since.Add(dialTurn)))
	defer turn.Stop()
	select {
	case <-f.done:
	case <-turn.C:
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !f.isDone() {
		return nil, fmt.Errorf("dial %s %s: %w", network, address, os.ErrDeadlineExceeded)
	}
	conn, err := f.conn, f.err
	if conn != nil {
		f.conn, f.err = nil, errDialed
	}
	return conn, err
}

// dial is the dial to an address, which begins with the first call; nil if there is a
// connection.
func (d *firstDials) dial(network, address string) *firstDial {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return nil
	}
	f := d.begun[address]
	if f == nil {
		f = &firstDial{since: time.Now(), done: make(chan struct{})}
		d.begun[address] = f
		go func() {
			conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(d.ctx, network, address)
			d.mu.Lock()
			defer d.mu.Unlock()
			f.conn, f.err = conn, err
			close(f.done)
			if d.over {
				f.close()
			}
			d.ended.Broadcast()
		}()
	}
	return f
}

func (f *firstDial) isDone() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// close closes a connection that nobody needs.
func (f *firstDial) close() {
	if f.conn != nil {
		_ = f.conn.Close()
	}
}

// answered waits until a server has answered late; false if none does.
func (d *firstDials) answered() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		waits := false
		for _, f := range d.begun {
			if f.isDone() && f.conn != nil && !f.again {
				f.again = true
				return true
			}
			waits = waits || !f.isDone()
		}
		if !waits {
			return false
		}
		d.ended.Wait()
	}
}

func (d *firstDials) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	for _, f := range d.begun {
		if f.isDone() {
			f.close()
		}
	}
}
