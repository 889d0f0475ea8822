// Package catalog is the catalogue: what was saved, by whom, under which name.
//
// Its bucket has four kinds of keys, in which every name is made a token by kv.Token:
//
//	system                            System: the id of the catalogue
//	vault.NICKNAME                    Vault
//	record.NICKNAME.RECORD            Head: what lists show
//	version.NICKNAME.RECORD.NUMBER    schemas.Version; NUMBER has ten digits
//
// A version is created once. Only the time at which it was forgotten is written later. In the end
// a collection deletes the version and leaves a tombstone that says which one it was; its
// number is not used again. A version gets another number only if the catalogue was lost and
// versions were saved in a new one before it was rebuilt.
//
// # Order of durability
//
// A version is created, and synced, before the head of its record names it, and both before
// the client is answered. If a coordinator crashes in between, the next commit finds the
// version and moves the head.
//
// # Backup and rebuild
//
// Storage nodes keep a backup of the catalogue: each vault, version and policy is a plain chunk
// in a vault of its own. A rebuild merges all that the nodes know into the catalogue that is
// there, after JetStream has lost its data. A collection is refused while the nodes know more
// than the catalogue, and so are the requests of clients ([Catalog.Missing]).
package catalog

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/kv"
	"servidor-backup/coordinator/internal/lease"
	"servidor-backup/schemas"
)

// Buckets are the buckets that a catalogue reads and writes.
type Buckets struct {
	Catalogue *kv.Bucket // vaults, records and versions
	Policies  *kv.Bucket // has other keys too; those of policies begin with Options.PolicyPrefix
	State     *kv.Bucket // see State
}

// Options are what a catalogue needs to know of the coordinator.
type Options struct {
	// PolicyPrefix begins the keys of policies.
	PolicyPrefix string
	// Log takes what an administrator should know.
	Log *slog.Logger
	// Map returns the node map as of now.
	Map func() *schemas.NodeMap
	// Put sends a chunk and returns when every node of the set has synced it.
	Put func(ctx context.Context, set []schemas.NodeID, vault schemas.VaultID, chunk *schemas.Chunk) error
}

// Catalog is the catalogue as one coordinator uses it.
type Catalog struct {
	*State
	nc        *nats.Conn
	opt       Options
	leases    *lease.Leases
	catalogue *kv.Bucket
	policies  *kv.Bucket
	toBackUp  chan string        // keys that are to be backed up
	flush     chan chan struct{} // closed when the queue is empty
	scan      chan struct{}      // wakes a scan for values without a backup
	system    atomic.Pointer[System]
	missing   sync.Mutex // held while a Missing is filled
}

// New uses buckets. Nothing is backed up before [Catalog.RunBackup].
func New(nc *nats.Conn, b Buckets, leases *lease.Leases, opt Options) *Catalog {
	return &Catalog{State: &State{b.State}, nc: nc, opt: opt, leases: leases, catalogue: b.Catalogue, policies: b.Policies,
		toBackUp: make(chan string, backupQueue), scan: make(chan struct{}, 1), flush: make(chan chan struct{})}
}
