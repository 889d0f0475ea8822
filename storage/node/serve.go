package node

import (
	"context"
	"slices"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// failedSize is more than the bytes of one entry of a reply's list of failures: a message of
// at most maxFailedText bytes, and its envelope.
const (
	failedSize    = 512
	maxFailedText = 300
)

// put handles one put message. The store commits in groups, so messages are passed to it
// side by side; the windows bound how many there are.
func (n *Node) put(m *bus.Message) {
	req, err := schemas.DecodePut(m.Data)
	if err != nil {
		n.acknowledge(m, "", err)
		return
	}
	// Windows bound what well-behaved clients send; this bounds the memory for puts of any
	// sender. While it is used up, messages wait in the connection.
	size := min(int64(len(m.Data)), 2*n.opt.Budget)
	if n.putBudget.Acquire(n.run, size) != nil {
		n.acknowledge(m, req.Session, schemas.Errorf(schemas.NodeClosed, "node %s is shutting down; ask another one", n.id))
		return
	}
	n.puts.Go(func() {
		defer n.putBudget.Release(size)
		err := n.store.Put(context.Background(), req.Vault, req.Chunks)
		// Before the answer: whoever has it and asks for the status learns of the parts.
		n.healer.Received(req.Session, len(req.Chunks))
		n.acknowledge(m, req.Session, err)
	})
}

func (n *Node) acknowledge(m *bus.Message, session string, err error) {
	rep := schemas.PutReply{Reply: schemas.OK, Node: n.id, Window: n.windows.grant(session, time.Now())}
	if err != nil {
		err = storageError(err)
		rep.Reply = schemas.Fail(err)
		n.opt.Log.Warn("a put was refused", "session", session, "error", err)
	}
	m.Answer(&rep, err)
}

// storageError gives an error of the disk, which has no code, the seed's status for a storage
// node.
func storageError(err error) error {
	if schemas.CodeOf(err) != "" {
		return err
	}
	return schemas.Errorf(schemas.DiskFailed, "%v", err)
}

// get answers with chunks, edges with the clear edges of chunks alone.
func (n *Node) get(_ context.Context, b, to []byte) ([]byte, error)   { return n.read(b, to, false) }
func (n *Node) edges(_ context.Context, b, to []byte) ([]byte, error) { return n.read(b, to, true) }

// read answers with as many of the chunks as one message holds. The client asks again for
// those that are neither in the reply nor among its failures.
func (n *Node) read(b, to []byte, edges bool) ([]byte, error) {
	req, err := decodeIDs(b)
	if err != nil {
		return nil, err
	}
	rep := schemas.NewChunks(slices.Grow(to, schemas.MaxBatch))
	var failed []schemas.Failed
	err = n.store.ReadAll(req.Vault, req.IDs, edges, func(i int, c *storage.Found, err error) bool {
		used := rep.Size() + len(failed)*failedSize
		if err == nil {
			size := c.Size() + c.Len
			if !rep.HasSpace(size) || len(failed) > 0 && used+size+failedSize > schemas.MaxBatch {
				return false
			}
			if err = rep.AddFrom(&c.Chunk, c.Len, c.Read); err == nil {
				return true
			}
		}
		if used+failedSize > schemas.MaxBatch {
			return false
		}
		err = storageError(err)
		text := err.Error()
		failed = append(failed, schemas.Failed{ID: req.IDs[i], Code: schemas.CodeOf(err), Message: text[:min(len(text), maxFailedText)]})
		if code := schemas.CodeOf(err); code != schemas.NotHeld {
			n.readFailed(code)
			n.opt.Log.Error("a chunk could not be read", "chunk", req.IDs[i], "vault", req.Vault, "error", err)
		}
		return true
	})
	if err != nil {
		return nil, storageError(err)
	}
	return rep.Reply(failed), nil
}

func decodeIDs(b []byte) (*schemas.IDsRequest, error) {
	req, err := schemas.DecodeIDs(b)
	switch {
	case err != nil:
		return nil, err
	case len(req.IDs) == 0:
		return nil, schemas.Errorf(schemas.BadRequest, "the request names no chunk (id_arquivo is empty or missing)")
	case len(req.IDs) > replica.MaxIDs:
		return nil, schemas.Errorf(schemas.BadRequest, "the request names %d chunks, at most %d are allowed", len(req.IDs), replica.MaxIDs)
	}
	return req, nil
}
