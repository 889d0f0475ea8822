package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	// ErrNoKey is returned, in a [*KeyError], when the vault's key is needed and the key file
	// does not exist.
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
	// System is the id of the system that backups must go to: the BackupResult.System of an earlier
	// one. If another system answers, a backup fails with the code [schemas.OtherSystem] before it
	// changes or sends anything. "" is any system.
	System string
	// SkipSelfCheck leaves out opening every chunk again after sealing it.
	SkipSelfCheck bool
	// Wait is how long a backup or restore that is under way waits for a server or a coordinator
	// that is gone, and a backup for storage nodes; 0 means DefaultWait. The end of the context
	// ends every wait at once.
	Wait time.Duration
	// Status is called with what the client waits for, and with no text when it goes on, from
	// several goroutines. It must not block. nil is allowed.
	Status func(s schemas.Sentence)
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
	if opt.KeyFile != "" {
		if abs, err := filepath.Abs(opt.KeyFile); err == nil {
			opt.KeyFile = abs // as messages show it
		}
	}
	if opt.Status == nil {
		opt.Status = func(schemas.Sentence) {}
	}
	if opt.Wait == 0 {
		opt.Wait = DefaultWait
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
	c.ctl = &control{nc: nc, status: opt.Status, wait: opt.Wait}
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

// KeyCreated reports whether this client made the vault's key, which is then in the key file.
// The user must be told that only this machine can restore until the file is copied.
func (c *Client) KeyCreated() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keyCreated
}

// vaultKeys loads the vault's key. fingerprint is that of the vault's key, as the coordinator
// tells it; empty if it is not known. The error is a [*KeyError] if the key is missing or is
// another one.
func (c *Client) vaultKeys(fingerprint []byte) (*seal.Keys, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		if c.opt.KeyFile == "" {
			return nil, ErrNoKeyFile
		}
		key, err := seal.LoadKey(c.opt.KeyFile)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &KeyError{Nickname: c.opt.Nickname, File: c.opt.KeyFile, Missing: true}
		}
		if err != nil {
			return nil, err
		}
		c.key, c.keys = key, seal.New(key)
	}
	if own := c.key.Fingerprint(); len(fingerprint) > 0 && !bytes.Equal(own[:], fingerprint) {
		return nil, &KeyError{Nickname: c.opt.Nickname, File: c.opt.KeyFile}
	}
	return c.keys, nil
}

// keysToSave loads the vault's key, or makes one if the vault has none yet.
//
// The order keeps every key that a vault may know: the vault is asked, the key is stored
// durably, and only then a session enters the key in the vault. If another machine was faster
// there, the session is refused, and checkRefusal removes the key, which no vault knows.
func (c *Client) keysToSave(ctx context.Context) (*seal.Keys, error) {
	keys, err := c.vaultKeys(nil)
	if !errors.Is(err, ErrNoKey) || errors.Is(err, ErrNoKeyFile) {
		return keys, err
	}
	var rep schemas.ListReply
	asked := c.ctl.requestOrRetry(ctx, schemas.SubjectList, &schemas.ListRequest{Nickname: c.opt.Nickname}, &rep)
	if asked != nil && schemas.CodeOf(asked) != schemas.UnknownNickname {
		return nil, asked
	}
	if len(rep.Fingerprint) > 0 {
		return nil, err
	}
	c.mu.Lock()
	key, err := seal.CreateKey(c.opt.KeyFile, fmt.Sprintf("Nickname %q, made on the host %q on %s.", c.opt.Nickname, c.host, time.Now().Format(time.DateOnly)))
	if err == nil {
		c.key, c.keys, c.keyCreated = key, seal.New(key), true
	}
	c.mu.Unlock()
	if err != nil && !errors.Is(err, fs.ErrExist) { // else another backup was faster
		return nil, err
	}
	return c.vaultKeys(nil)
}

// checkRefusal explains a coordinator's refusal of the key. A key that this client has made is
// removed then: the vault has another one, so nothing is sealed with it.
func (c *Client) checkRefusal(err error) error {
	if schemas.CodeOf(err) != schemas.OtherKey {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	wrong := &KeyError{Nickname: c.opt.Nickname, File: c.opt.KeyFile}
	if c.keyCreated {
		if err := seal.RemoveKey(c.opt.KeyFile, c.key); err != nil {
			return errors.Join(wrong, fmt.Errorf("remove the new key, which is of no use: %w", err))
		}
		c.keys, c.keyCreated, wrong.Missing = nil, false, true
	}
	return wrong
}
