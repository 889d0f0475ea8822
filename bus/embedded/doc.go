// Package embedded runs a NATS server with JetStream within the process, alone or as one
// server of a cluster. It is the only package that imports nats-server; only cmd/backup
// and tests import it.
//
// Whatever JetStream acknowledges has been synced to disk (SyncAlways). A lock in the
// server's directory keeps a second server out, because JetStream takes none. The server
// handles no signals and never ends the process; a fatal line of its log becomes the error
// of [Start]. A directory that was made alone is not opened in a cluster, nor the other way
// round ([ErrClustered]).
package embedded
