package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/schemas"
)

// ErrNoCoordinator is returned when a NATS server answers and no coordinator
// does.
var ErrNoCoordinator = errors.New("no coordinator answers")

// ErrNoKey is returned when a sealed version is to be read and the key file is
// not there.
var ErrNoKey = errors.New("the vault's key is not on this machine")

// Options says whom to talk to and as whom.
type Options struct {
	// Server is one or more NATS URLs, separated by commas.
	Server string
	// InProcess, when set, is dialed instead of Server: a server of this process
	// (bus/embedded), which outlives the client.
	InProcess nats.InProcessConnProvider
	// Nickname is whose vault it is.
	Nickname string
	// KeyFile holds the vault's key. It is made at the first backup.
	KeyFile string
	// Host is part of what a record stands for; default: the machine's name.
	Host string
	// UploadLimit and DownloadLimit bound the bytes of chunks that go to nodes
	// when saving, and come from them when bringing back, in a second; 0 is no
	// limit. They hold for all that this client does at a time.
	UploadLimit, DownloadLimit int64
	// Room is the part of the usual bounds (some 50 MiB) that transfers may hold
	// in memory, between 0 and 1; 0 is 1.
	Room float64
	// SkipSelfCheck leaves out opening every chunk again after sealing it.
	SkipSelfCheck bool
	// Status is told what the client is waiting for, and "" when it goes on.
	// It is called from several goroutines and must not block; nil is fine.
	Status func(text string)
}

// Client talks to one server for one nickname. It is safe for concurrent use.
type Client struct {
	opt  Options
	ctl  *nats.Conn
	host string

	upload, download *transfer.Throttle
	responded        atomic.Bool // a coordinator has

	mu         sync.Mutex
	data       *nats.Conn // bulk data has a connection of its own
	keys       *seal.Keys
	key        seal.VaultKey
	keyCreated bool
}

const (
	// connectTime bounds the first connection.
	connectTime = 5 * time.Second
	// coordinatorTime is for how long a coordinator that has responded before may be
	// unreachable, because it restarts.
	coordinatorTime = 20 * time.Second
	// answerTime is how long the first try of a request that may be sent twice waits for
	// its answer.
	answerTime = 30 * time.Second
	// serverTime is for how long the server may be unreachable in the middle of work.
	serverTime = 60 * time.Second
)

// Connect dials the server. It fails within five seconds when there is none.
func Connect(ctx context.Context, opt Options) (*Client, error) {
	if err := schemas.CheckNickname(opt.Nickname); err != nil {
		return nil, err
	}
	if opt.Status == nil {
		opt.Status = func(string) {}
	}
	c := &Client{opt: opt, host: opt.Host, upload: transfer.NewThrottle(opt.UploadLimit), download: transfer.NewThrottle(opt.DownloadLimit)}
	if c.host == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("find this machine's name: %w", err)
		}
		c.host = host
	}
	var err error
	if c.ctl, err = c.dial(ctx, "control"); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) dial(ctx context.Context, what string) (*nats.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return bus.Connect(ctx, bus.ConnOptions{
		URL: c.opt.Server, InProcess: c.opt.InProcess, Name: "backup client " + what + " of " + c.opt.Nickname, Status: c.opt.Status,
	})
}

// where names the server for messages.
func (c *Client) where() string {
	if c.opt.InProcess != nil {
		return "the server of this process"
	}
	return c.opt.Server
}

// Close ends the connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctl.Close()
	if c.data != nil {
		c.data.Close()
	}
}

// dataConn is the connection for bulk data, made when it is first needed.
func (c *Client) dataConn(ctx context.Context) (*nats.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.data == nil {
		c.data, err = c.dial(ctx, "data")
	}
	return c.data, err
}

// KeyCreated reports whether this client made the vault's key (so the person
// must be told that this machine alone can restore).
func (c *Client) KeyCreated() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keyCreated
}

// vaultKeys loads the vault's key, and makes it if create says so.
func (c *Client) vaultKeys(create bool) (*seal.Keys, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys != nil {
		return c.keys, nil
	}
	key, err := seal.LoadKey(c.opt.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return nil, fmt.Errorf("%w: %s is missing; copy it from the machine that made the backups", ErrNoKey, c.opt.KeyFile)
		}
		key, err = seal.CreateKey(c.opt.KeyFile)
		c.keyCreated = err == nil
		if errors.Is(err, fs.ErrExist) { // another backup was faster
			key, err = seal.LoadKey(c.opt.KeyFile)
		}
	}
	if err != nil {
		return nil, err
	}
	c.key, c.keys = key, seal.New(key)
	return c.keys, nil
}

// request asks a coordinator.
func (c *Client) request(ctx context.Context, subject string, req any, rep bus.Reply) error {
	err := bus.Request(ctx, c.ctl, subject, req, rep)
	switch {
	case err == nil:
		c.responded.Store(true)
	case errors.Is(err, bus.ErrNoResponders):
		if c.opt.InProcess != nil {
			return fmt.Errorf("%w in this process", ErrNoCoordinator)
		}
		return fmt.Errorf("%w at %s: start one with \"backup coordinator --server %s\"", ErrNoCoordinator, c.opt.Server, c.opt.Server)
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return fmt.Errorf("the coordinator at %s did not answer in time: is its NATS server healthy? (%w)", c.where(), err)
	}
	return err
}

// requestOrRetry asks a coordinator for what a backup or restore begins with. If a
// coordinator responded a moment ago, the request is retried for a while: the coordinator
// may be restarting, or another one takes its place. The request must be one that may be
// sent twice.
func (c *Client) requestOrRetry(ctx context.Context, subject string, req any, rep bus.Reply) error {
	responded := c.responded.Load()
	err := c.request(ctx, subject, req, rep)
	died := errors.Is(err, context.DeadlineExceeded) // it took the request, or the error would be ErrNoCoordinator
	stops := schemas.CodeOf(err) == schemas.Unavailable
	if ctx.Err() != nil || !died && !stops && !(responded && isUnreachable(err)) {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, coordinatorTime)
	defer cancel()
	if again := c.retry(limited, subject, req, rep); limited.Err() == nil || ctx.Err() != nil {
		return again
	}
	return err
}

// retry asks a coordinator that responded a moment ago, again and again: it waits for
// one that restarts, and asks again for an answer that was lost with the connection. The
// request must be one that may be sent twice.
func (c *Client) retry(ctx context.Context, subject string, req any, rep bus.Reply) error {
	var since time.Time // when no coordinator responded for the first time
	for timeout := answerTime; ; {
		err := c.requestWithin(ctx, timeout, subject, req, rep)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			// The coordinator that took it may have died; or it has more to do
			// than that, and gets more time.
			timeout *= 2
			continue
		}
		if !isUnreachable(err) || ctx.Err() != nil {
			return err
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) > coordinatorTime {
			return err
		}
		c.opt.Status("waiting for a coordinator")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		c.opt.Status("")
	}
}

// isUnreachable reports whether err is of the kind that passes when what restarts is
// back: the coordinator, or the catalogue or a node that it asks.
func isUnreachable(err error) bool {
	return errors.Is(err, errAnswerLost) || errors.Is(err, ErrNoCoordinator) || schemas.CodeOf(err) == schemas.Unavailable
}

var errAnswerLost = errors.New("the connection was lost before the answer came")

// requestWithin is request with a timeout, except that it ends with errAnswerLost when the
// connection is lost on the way: the answer will never come, and the timeout may be long.
func (c *Client) requestWithin(ctx context.Context, timeout time.Duration, subject string, req any, rep bus.Reply) error {
	lost := c.ctl.StatusChanged(nats.RECONNECTING)
	defer c.ctl.RemoveStatusListener(lost)
	limited, end := context.WithTimeout(ctx, timeout)
	defer end()
	bounded, cancel := context.WithCancelCause(limited)
	defer cancel(nil)
	go func() {
		select {
		case <-lost:
			cancel(errAnswerLost)
		case <-bounded.Done():
		}
	}()
	err := c.request(bounded, subject, req, rep)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return context.Cause(bounded)
	}
	return err
}

// watchServer returns ctx, ended when the server has been unreachable for serverTime.
func (c *Client) watchServer(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				if c.ctl.IsConnected() {
					last = now
				} else if now.Sub(last) > serverTime {
					cancel(fmt.Errorf("%w at %s for %v: run the command again, what has been stored is not sent twice", bus.ErrNoServer, c.where(), serverTime))
				}
			}
		}
	}()
	return ctx, cancel
}

// Nodes asks the coordinator for the node map.
func (c *Client) Nodes(ctx context.Context) (*schemas.NodeMap, error) {
	var rep schemas.NodesReply
	err := c.request(ctx, schemas.SubjectNodes, &schemas.NodesRequest{}, &rep)
	return rep.Map, err
}
