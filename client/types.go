package client

import (
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
)

// What the packages below have, and users of a Client see.
type (
	// Entry is one path of a version: its type, mode, owner, times, attributes, and where
	// its content is.
	Entry = tree.Entry
	// EntryType says what kind of file an entry is.
	EntryType = tree.EntryType
	// Xattr is one extended attribute of an entry.
	Xattr = tree.Xattr
	// Progress counts what a running backup or restore has done.
	Progress = transfer.Progress
	// Compression is how hard a backup tries to make chunks smaller.
	Compression = seal.Compression
)

// The types of entries.
const (
	TypeFile    = tree.TypeFile
	TypeDir     = tree.TypeDir
	TypeSymlink = tree.TypeSymlink
	TypeFifo    = tree.TypeFifo
	TypeChar    = tree.TypeChar
	TypeBlock   = tree.TypeBlock
	TypeSocket  = tree.TypeSocket
)

// The levels of compression.
const (
	CompressDefault = seal.CompressDefault
	CompressOff     = seal.CompressOff
	CompressFast    = seal.CompressFast
	CompressBest    = seal.CompressBest
	CompressAuto    = seal.CompressAuto // as the processors and the network allow
)

// ErrDamaged is returned for content that is damaged, or was sealed with another key.
var ErrDamaged = seal.ErrDamaged

// ParseCompression reads off, fast, default, best or auto.
func ParseCompression(s string) (Compression, error) { return seal.ParseCompression(s) }
