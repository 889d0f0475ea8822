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

// nats.go dials one server after the other, and would wait for dialTimeout for each server
// that does not respond because its host is off or unreachable. So a dial that has no answer
// within dialHeadStart goes on in the background while nats.go dials the next server. If no
// other server accepts the connection, the background dials that succeed late are used
// after all. No server is dialed twice, and a server that responds at once is the only one
// dialed.

// dialHeadStart is the time for which a dial runs alone before the next one starts.
const dialHeadStart = 250 * time.Millisecond

// parallelDialer makes the dials for a connection that is being established. After it is
// closed it dials like a net.Dialer.
type parallelDialer struct {
	ctx      context.Context
	mu       sync.Mutex
	finished *sync.Cond              // signalled when a dial has ended
	started  map[string]*startedDial // by address
	closed   bool
}

type startedDial struct {
	startTime time.Time
	done      chan struct{} // closed when the dial has ended
	conn      net.Conn      // nil if the dial failed, or after nats.go has got it
	err       error
	retried   bool // nats.go has been called again because of this dial
}

// errConnUsed says that a server's connection was given to nats.go before, which failed to
// use it.
var errConnUsed = errors.New("the server was tried already")

// connectParallel is nats.Connect with dials that run side by side.
func connectParallel(url string, options []nats.Option) (*nats.Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := &parallelDialer{ctx: ctx, started: map[string]*startedDial{}}
	d.finished = sync.NewCond(&d.mu)
	defer d.close()
	options = append(options, nats.SetCustomDialer(d))
	nc, err := nats.Connect(url, options...)
	for err != nil && d.waitForLateServer() {
		if late, cause := nats.Connect(url, options...); cause == nil {
			return late, nil
		}
	}
	return nc, err
}

// Dial implements nats.CustomDialer. It returns os.ErrDeadlineExceeded for a dial that has
// not ended within dialHeadStart.
func (d *parallelDialer) Dial(network, address string) (net.Conn, error) {
	f := d.startDial(network, address)
	if f == nil {
		return net.DialTimeout(network, address, dialTimeout)
	}
	headStart := time.NewTimer(time.Until(f.startTime.Add(dialHeadStart)))
	defer headStart.Stop()
	select {
	case <-f.done:
	case <-headStart.C:
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !f.isDone() {
		return nil, fmt.Errorf("dial %s %s: %w", network, address, os.ErrDeadlineExceeded)
	}
	conn, err := f.conn, f.err
	if conn != nil {
		f.conn, f.err = nil, errConnUsed
	}
	return conn, err
}

// startDial returns the dial to an address, which it starts at the first call. It returns
// nil after the dialer was closed.
func (d *parallelDialer) startDial(network, address string) *startedDial {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	f := d.started[address]
	if f == nil {
		f = &startedDial{startTime: time.Now(), done: make(chan struct{})}
		d.started[address] = f
		go func() {
			conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(d.ctx, network, address)
			d.mu.Lock()
			defer d.mu.Unlock()
			f.conn, f.err = conn, err
			close(f.done)
			if d.closed {
				f.closeConn()
			}
			d.finished.Broadcast()
		}()
	}
	return f
}

func (f *startedDial) isDone() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// closeConn closes a connection that nats.go has not got.
func (f *startedDial) closeConn() {
	if f.conn != nil {
		_ = f.conn.Close()
	}
}

// waitForLateServer waits until a background dial has succeeded. It returns false when all
// have ended and none can be tried any more.
func (d *parallelDialer) waitForLateServer() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		pending := false
		for _, f := range d.started {
			if f.isDone() && f.conn != nil && !f.retried {
				f.retried = true
				return true
			}
			pending = pending || !f.isDone()
		}
		if !pending {
			return false
		}
		d.finished.Wait()
	}
}

// close closes the connections that are not used, now or when their dials end.
func (d *parallelDialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, f := range d.started {
		if f.isDone() {
			f.closeConn()
		}
	}
}
