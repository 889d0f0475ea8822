package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrNoServer is returned by [Connect] when nothing answers at the URL.
var ErrNoServer = errors.New("no NATS server answers")

// ConnOptions says where to connect to.
type ConnOptions struct {
	// URL is one or more nats:// addresses, separated by commas.
	URL string
	// InProcess, when set, is dialed instead of URL: a server of this process, reached
	// without a socket.
	InProcess nats.InProcessConnProvider
	// Name is shown by the server's monitoring.
	Name string
	// Wait makes Connect wait for a server for as long as ctx lets it, saying
	// so through Status, instead of failing.
	Wait bool
	// Status is told what the connection waits for, and "" when it goes on.
	// It is called from several goroutines; nil is fine.
	Status func(text string)
}

const (
	dialTimeout   = 3 * time.Second
	reconnectWait = 250 * time.Millisecond
	// A link that has died without a word is noticed within about 15 s.
	pingInterval = 5 * time.Second
)

// Connect dials the bus. Once made, the connection comes back by itself for as
// long as it is not closed.
func Connect(ctx context.Context, opt ConnOptions) (*nats.Conn, error) {
	status := opt.Status
	if status == nil {
		status = func(string) {}
	}
	where := opt.URL
	options := []nats.Option{
		nats.Name(opt.Name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait/2, reconnectWait),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		// A server that refuses a connection twice (it may be starting) is
		// still tried again.
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if !nc.IsClosed() {
				status(fmt.Sprintf("the connection to %s is lost, trying again", where))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { status("") }),
		// Errors of subscriptions are seen by their owners; the default would print.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	if opt.InProcess != nil {
		options = append(options, nats.InProcessServer(opt.InProcess))
		where = "the server of this process"
	}
	for {
		nc, err := connect(opt.URL, options)
		if err == nil {
			status("")
			return nc, nil
		}
		cause := err
		err = connectError(where, cause)
		if !opt.Wait || !errors.Is(err, ErrNoServer) {
			return nil, err
		}
		status(fmt.Sprintf("waiting for %s: %v", where, cause))
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(reconnectWait):
		}
	}
}

// connectError tells a server that is not there from one that refuses.
func connectError(where string, err error) error {
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || strings.Contains(err.Error(), "parse") {
		return fmt.Errorf("connect to %s: %w", where, err)
	}
	return fmt.Errorf("%w at %s (%w)", ErrNoServer, where, err)
}
