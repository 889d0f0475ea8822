// Package embedded runs a NATS server with JetStream within the process, alone or as one
// server of a cluster. It is the only package that imports nats-server; only cmd/backup
// and tests import it.
//
// Everything that JetStream acknowledges has been synced to disk (SyncAlways). A lock in the
// server's directory keeps a second server out, because JetStream itself takes no lock. A
// stream that cannot be read or recovered is an error of [Start], and its files are left as
// they are: JetStream alone would remove it, or a part of it, and start. The
// server handles no signals and never ends the process; a fatal line of its log becomes the
// error of [Start]. A lone server's directory is not opened in a cluster, nor a cluster
// server's directory alone ([ErrClustered]).
package embedded
