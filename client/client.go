package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/schemas"
)

var (
	// ErrNoCoordinator is returned when a NATS server answers, but no coordinator does.
	ErrNoCoordinator = errors.New("no coordinator answers")
	// ErrNoKey is returned when a sealed version is to be read and the key file does not
	// exist.
	ErrNoKey = errors.New("the vault's key is not on this machine")
	// ErrNoKeyFile is the [ErrNoKey] of a client without a key file.
	ErrNoKeyFile = fmt.Errorf("%w: no key file is named", ErrNoKey)
	// ErrDamaged is returned for content that is damaged, or was sealed with another key.
	ErrDamaged = seal.ErrDamaged
	// ErrSameName is returned when two paths of a restore would get the same name in the
	// target folder.
	ErrSameName = errors.New("restore paths of the same name one after the other, into different folders")
)

// Options say how to reach a system, and which vault is used.
type Options struct {
	// Server is one or more NATS URLs, separated by commas.
	Server string
	// InProcess is used instead of Server if it is set: a NATS server in this process, as
	// bus/embedded starts one. It must outlive the client.
	InProcess nats.InProcessConnProvider
	// Nickname names the vault.
	Nickname string
	// KeyFile is the path of the vault's key. The first backup makes the file.
	KeyFile string
	// Host identifies this machine: a record belongs to one host and its paths. Default: the
	// machine's name.
	Host string
	// UploadLimit and DownloadLimit bound how many bytes of chunks go to the nodes in a
	// backup, and come from them otherwise, in a second; 0 means no limit. All calls of a
	// client share the limits.
	UploadLimit, DownloadLimit int64
	// MemoryBudget is how much a backup or restore may hold in memory, as a part of the
	// usual bounds (some 50 MiB), from 0 to 1; 0 means 1.
	MemoryBudget float64
	// SkipSelfCheck leaves out opening every chunk again after sealing it.
	SkipSelfCheck bool
	// Status is called with what the client waits for, and with "" when it goes on, from
	// several goroutines. It must not block. nil is allowed.
	Status func(text string)
}

// Client works with one vault of one system. It is safe for concurrent use.
type Client struct {
	opt  Options
	host string
	ctl  *control

	upload, download *transfer.Throttle

	mu         sync.Mutex
	data       *nats.Conn // for bulk data; nil until the first use
	keys       *seal.Keys
	key        seal.VaultKey
	keyCreated bool
}

// connectTime bounds a connection attempt.
const connectTime = 5 * time.Second

// Connect connects to the server. It fails within five seconds if there is none. Whether a
// coordinator is there shows only with the first request.
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
	nc, err := c.dial(ctx, "control")
	if err != nil {
		return nil, err
	}
	c.ctl = &control{nc: nc, status: opt.Status}
	if opt.InProcess == nil {
		c.ctl.server = bus.Redact(opt.Server)
	}
	return c, nil
}

func (c *Client) dial(ctx context.Context, use string) (*nats.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return bus.Connect(ctx, bus.ConnOptions{
		URL: c.opt.Server, InProcess: c.opt.InProcess, Name: "backup client " + use + " of " + c.opt.Nickname, Status: c.opt.Status,
	})
}

// Close closes the connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctl.nc.Close()
	if c.data != nil {
		c.data.Close()
	}
}

// dataConn returns the connection for bulk data, which is made when it is first needed. It is a
// separate one, so that chunks do not delay requests to the coordinator.
func (c *Client) dataConn(ctx context.Context) (*nats.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.data == nil {
		c.data, err = c.dial(ctx, "data")
	}
	return c.data, err
}

// KeyCreated reports whether this client made the vault's key. The user must then be told that
// only this machine can restore until the key file is copied.
func (c *Client) KeyCreated() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keyCreated
}

// vaultKeys loads the vault's key. If the key file does not exist, it makes one if create is set,
// and otherwise returns ErrNoKey.
func (c *Client) vaultKeys(create bool) (*seal.Keys, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys != nil {
		return c.keys, nil
	}
	if c.opt.KeyFile == "" {
		return nil, ErrNoKeyFile
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
