package bus

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/schemas"
)

// ErrNoServer is returned by [Connect] when no server responds at the URL.
var ErrNoServer = errors.New("no NATS server answers")

// ConnOptions are the options of [Connect].
type ConnOptions struct {
	// URL is one or more nats:// addresses, separated by commas.
	URL string
	// InProcess, if not nil, is connected to instead of URL: a server in this process,
	// reached without a socket.
	InProcess nats.InProcessConnProvider
	// Name identifies the connection in the server's monitoring.
	Name string
	// Wait makes Connect wait for a server until ctx ends, and report that through
	// Status, instead of failing when no server responds.
	Wait bool
	// Status is called with what the connection waits for, and with no text when it goes on.
	// It is called from several goroutines; nil discards the texts.
	Status func(s schemas.Sentence)
}

const (
	dialTimeout   = 3 * time.Second
	reconnectWait = 250 * time.Millisecond
	// With two pings outstanding, a link that has died without closing is noticed within
	// about 15 s.
	pingInterval = 5 * time.Second
)

// Connect connects to the bus. An established connection reconnects by itself until it is
// closed.
func Connect(ctx context.Context, opt ConnOptions) (*nats.Conn, error) {
	status := opt.Status
	if status == nil {
		status = func(schemas.Sentence) {}
	}
	where := Redact(opt.URL)
	options := []nats.Option{
		nats.Name(opt.Name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait/2, reconnectWait),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		// A server may refuse connections while it starts, so one that refuses twice is
		// still retried.
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if !nc.IsClosed() {
				status(schemas.Say("connection-lost", "lost the connection to {server}, reconnecting", "server", where))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { status(schemas.Sentence{}) }),
		// The owners of subscriptions see their errors; the default handler prints.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	if opt.InProcess != nil {
		options = append(options, nats.InProcessServer(opt.InProcess))
		where = "the server of this process"
	}
	for {
		nc, err := connectParallel(opt.URL, options)
		if err == nil {
			status(schemas.Sentence{})
			return nc, nil
		}
		err = connectError(where, err)
		if !opt.Wait || !errors.Is(err, ErrNoServer) {
			return nil, err
		}
		status(schemas.Say("waiting-for-server", "waiting for {server}", "server", where))
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(reconnectWait):
		}
	}
}

// connectError returns err as [ErrNoServer], unless a server refused the credentials or the
// URL is malformed.
func connectError(where string, err error) error {
	var malformed *url.Error
	if errors.As(err, &malformed) { // its text quotes the whole address, or its port
		return fmt.Errorf("connect to %s: this is not the address of a NATS server", where)
	}
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
		return fmt.Errorf("connect to %s: %w", where, err)
	}
	none := schemas.Explain("", "no-server", "no NATS server answers at {server}", "server", where).WithKind(ErrNoServer)
	if err == nats.ErrNoServers { // it says the same
		return none
	}
	return none.Because(err)
}
