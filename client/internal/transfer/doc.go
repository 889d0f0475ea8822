// Package transfer has what backups and restores share: the limits of a transfer, and how it
// deals with nodes that do not respond.
//
//   - A [Budget] scales the memory that a transfer may hold.
//   - A [Throttle] limits its bytes per second.
//   - A [Retry] repeats questions that storage nodes do not answer in time, because a node
//     that restarts is worth waiting for, and a node that never responded is not.
//   - A [Progress] counts what is done, for a person who watches.
//
// Nothing here knows chunks, keys or files.
package transfer
