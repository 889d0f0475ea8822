package client

import (
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
)

// Types of internal packages that users of a Client see.
type (
	// Entry is one path of a version: its type, mode, owner, times, attributes, and where
	// its content is.
	Entry = tree.Entry
	// EntryType says what kind of file an entry is.
	EntryType = tree.EntryType
	// Xattr is one extended attribute of an entry.
	Xattr = tree.Xattr
	// Progress counts what a running backup, restore or check has done.
	Progress = transfer.Progress
	// Compression is how much time a backup spends on making chunks smaller.
	Compression = seal.Compression
	// LeftOut counts what a backup was told to leave out, by reason.
	LeftOut = scan.LeftOut
	// PatternError is the error of a pattern that can never match.
	PatternError = scan.PatternError
	// PatternFault says why a pattern can never match.
	PatternFault = scan.PatternFault
	// LeftReason is an index of [LeftOut].
	LeftReason = scan.Reason
)

// PatternFile is the text of a file with patterns, one a line as in .gitignore.
type PatternFile struct {
	Name string // for messages
	Text []byte
}

// The faults of patterns.
const (
	PatternSyntax  = scan.PatternSyntax
	PatternOutside = scan.PatternOutside
	PatternSource  = scan.PatternSource
	PatternFiles   = scan.PatternFiles
)

// The indexes of [LeftOut].
const (
	LeftByPattern       = scan.ByPattern
	LeftByIgnoreFile    = scan.ByIgnoreFile
	LeftCacheFolder     = scan.CacheFolder
	LeftStoreFolder     = scan.StoreFolder
	LeftOtherFileSystem = scan.OtherFileSystem
	LeftTooLarge        = scan.TooLarge
	LeftNoDump          = scan.NoDump
	LeftReasons         = scan.Reasons // how many there are
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

// ParseCompression reads off, fast, default, best or auto.
func ParseCompression(s string) (Compression, error) { return seal.ParseCompression(s) }
