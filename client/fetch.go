package client

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// opened is a version that can be read.
type opened struct {
	schemas.Version
	k      *keys
	room   room
	source *source
	get    treeGet
	tree   *treeReader
	label  *label
	plain  *[]byte // the whole content, for what the seed's transmit sent
}

// open asks the coordinator for a version and gets what is needed to read it.
func (c *Client) open(ctx context.Context, id string) (*opened, error) {
	var rep schemas.DownloadReply
	if err := c.begin(ctx, schemas.SubjectDownload, &schemas.DownloadRequest{Nickname: c.opt.Nickname, ID: id}, &rep); err != nil {
		return nil, err
	}
	if err := answers(&rep, id); err != nil {
		return nil, fmt.Errorf("the coordinator's answer about %s: %w", id, err)
	}
	v := &opened{Version: *rep.Version, plain: rep.Content, room: room(c.opt.Room)}
	if v.RootKind == schemas.Plain {
		return v, nil
	}
	data, err := c.dataConn(ctx)
	if err != nil {
		return nil, err
	}
	if v.k, err = c.vaultKeys(false); err != nil {
		return nil, err
	}
	if v.label, err = v.k.openLabel(&v.Version); err != nil {
		return nil, err
	}
	v.source = newSource(v.Vault, replica.NewReader(data, rep.Map), c.opt.Status)
	v.source.throttle = c.download
	v.source.nodes = c.Nodes
	v.get = treeGetter(v.k, v.source)
	v.tree = newTreeReader(v.get, v.Root)
	return v, nil
}

// answers checks that rep is about the version that was asked for, and that
// content which came in the clear is what the version says.
func answers(rep *schemas.DownloadReply, id string) error {
	v := rep.Version
	if v == nil {
		return errors.New("it names no version")
	}
	record, number, err := schemas.ParseVersionID(id)
	switch {
	case err != nil:
		return err
	case v.Record != record || number != 0 && v.Number != number:
		return fmt.Errorf("it is about %s: %w", v.ID, ErrDamaged)
	case (v.RootKind == schemas.Plain) != (rep.Content != nil):
		return fmt.Errorf("it does not say whether the version is sealed: %w", ErrDamaged)
	case rep.Content != nil && schemas.PlainChunkID(v.Vault, *rep.Content) != v.Root:
		return fmt.Errorf("the content does not match the version: %w", ErrDamaged)
	}
	return nil
}

// treeGetter fetches and opens tree chunks.
func treeGetter(k *keys, from *source) treeGet {
	return func(ctx context.Context, ids []schemas.ChunkID) ([]treeNode, error) {
		nodes := make([]treeNode, len(ids))
		err := from.chunks(ctx, ids, func(place int, c *schemas.Chunk) error {
			payload, err := k.openTree(nil, c)
			nodes[place] = treeNode{payload: payload, trees: c.Trees, data: c.Data}
			return otherCopy(err)
		})
		return nodes, err
	}
}

// plainEntry is the entry of a file that the seed's transmit sent, of which only
// the content is known.
func (v *opened) plainEntry() *Entry {
	return &Entry{Path: v.Record, Type: TypeFile, Mode: 0o644, Size: int64(len(*v.plain)), Mtime: v.Created}
}

// inside finds the path in the tree that a person means: slashes and dots at the
// ends do not matter, and the name of the record's folder may stand before it.
func (v *opened) inside(ctx context.Context, p string) (*Entry, error) {
	clean := path.Clean(strings.Trim(p, "/"))
	e, err := v.tree.lookup(ctx, clean)
	if err == nil || v.label.Top == "" {
		return e, err
	}
	if clean == v.label.Top {
		return v.tree.lookup(ctx, ".")
	}
	if rest, ok := strings.CutPrefix(clean, v.label.Top+"/"); ok {
		if e, err := v.tree.lookup(ctx, rest); err == nil {
			return e, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", v.ID, err)
}

// wholeXattrs fetches attributes that are kept in chunks.
func (v *opened) wholeXattrs(ctx context.Context, e *Entry) error {
	if e.XattrContent.Bytes == 0 {
		return nil
	}
	var b []byte
	pieces := newPieceIter(ctx, v.get, e.XattrContent, maxXattrs)
	for {
		p, ok, err := pieces.Next()
		if err != nil {
			return err
		}
		if !ok {
			e.Xattrs, err = decodeXattrs(b)
			return err
		}
		if err := v.fetchOne(ctx, p, func(plain []byte) error {
			b = append(b, plain...)
			return nil
		}); err != nil {
			return err
		}
	}
}

// fetchOne fetches and opens one piece. plain is good during use only.
func (v *opened) fetchOne(ctx context.Context, p Piece, use func(plain []byte) error) error {
	return v.source.chunks(ctx, []schemas.ChunkID{p.ID}, func(_ int, c *schemas.Chunk) error {
		return v.openPiece(p, c, use)
	})
}

// openPiece opens a data chunk and passes on the part of it that is the piece.
func (v *opened) openPiece(p Piece, c *schemas.Chunk, use func(plain []byte) error) error {
	return v.openChunk(c, func(plain []byte) error {
		part, err := p.of(plain)
		if err != nil {
			return err
		}
		return use(part)
	})
}

// openChunk opens a data chunk, whose sealed bytes are lost with that. plain is
// good during use only.
func (v *opened) openChunk(c *schemas.Chunk, use func(plain []byte) error) error {
	buf := plains.get()
	defer func() { plains.put(buf) }()
	plain, err := v.k.unseal(buf, c.ID, c.Content)
	if err != nil {
		return otherCopy(err)
	}
	return use(plain)
}

// otherCopy asks for another copy of a chunk that is damaged.
func otherCopy(err error) error {
	if isDamage(err) {
		return replica.BadReplica(err)
	}
	return err
}

// of is the part of an opened chunk that is the piece.
func (p Piece) of(plain []byte) ([]byte, error) {
	if int64(len(plain))-p.Skip < p.Len {
		return nil, fmt.Errorf("chunk %s has %d bytes, its file says %d from %d on: %w", p.ID.Short(), len(plain), p.Len, p.Skip, ErrDamaged)
	}
	return plain[p.Skip:][:p.Len], nil
}

// isDamage reports whether err is about one chunk, and not about the way to it:
// other files can still be brought back.
func isDamage(err error) bool {
	code := schemas.CodeOf(err)
	return code == schemas.Corrupt || code == schemas.NotHeld || errors.Is(err, ErrDamaged)
}

// unreachable turns silence of nodes into what a person can act on.
func unreachable(err error) error {
	if errors.Is(err, bus.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("a storage node that holds the data does not answer; is it running? (%w)", err)
	}
	return err
}
