package client

import (
	"context"
	"errors"
	"fmt"

	"servidor-backup/schemas"
)

// VersionInfo is a version with what only the key's owner can read; Host and
// Paths are empty without the key, and for what the seed's transmit sent.
type VersionInfo struct {
	schemas.Version
	Host  string
	Paths []string
}

// label is the sealed part of a version record.
type label struct {
	Host  string   `msgpack:"host"`
	Paths []string `msgpack:"paths"` // absolute, as they were saved
	Top   string   `msgpack:"top"`   // name of the folder whose content is at "."; else empty
}

// sealLabel seals l as a chunk of its own: its id, then the frame.
func (k *keys) sealLabel(l *label) ([]byte, error) {
	plain, err := schemas.Marshal(l)
	if err != nil {
		return nil, err
	}
	id := k.dataID(plain)
	return k.sealData(id[:], id, plain, sealOptions{})
}

func (k *keys) openLabel(sealed []byte) (*label, error) {
	var id schemas.ChunkID
	if len(sealed) < len(id) {
		return nil, fmt.Errorf("the sealed part of the version is cut short: %w", ErrDamaged)
	}
	copy(id[:], sealed)
	plain, err := k.openData(nil, id, sealed[len(id):])
	if err != nil {
		return nil, fmt.Errorf("open the sealed part of the version: %w", err)
	}
	l := new(label)
	return l, schemas.Unmarshal(plain, l)
}

// Records lists the nickname's records, sorted by name.
func (c *Client) Records(ctx context.Context) (all []schemas.Record, err error) {
	err = c.list(ctx, "", func(rep *schemas.ListReply) { all = append(all, rep.Records...) })
	if schemas.CodeOf(err) == schemas.UnknownNickname {
		return nil, nil // a vault that is not there yet is empty
	}
	return all, err
}

// Versions lists a record's versions, newest first.
func (c *Client) Versions(ctx context.Context, record string) ([]VersionInfo, error) {
	var all []VersionInfo
	err := c.list(ctx, record, func(rep *schemas.ListReply) {
		for _, v := range rep.Versions {
			all = append(all, VersionInfo{Version: v})
		}
	})
	if err != nil {
		return nil, err
	}
	k, err := c.vaultKeys(false)
	if errors.Is(err, ErrNoKey) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	for i := range all {
		v := &all[i]
		if len(v.Sealed) == 0 {
			continue
		}
		l, err := k.openLabel(v.Sealed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.ID, err)
		}
		v.Host, v.Paths = l.Host, l.Paths
	}
	return all, nil
}

func (c *Client) list(ctx context.Context, record string, page func(*schemas.ListReply)) error {
	req := &schemas.ListRequest{Nickname: c.opt.Nickname, Record: record}
	for {
		var rep schemas.ListReply
		if err := c.request(ctx, schemas.SubjectList, req, &rep); err != nil {
			return err
		}
		page(&rep)
		if rep.Next == "" {
			return nil
		}
		req.After = rep.Next
	}
}

// Tree visits the entries of a version in order: all of them, or with inside
// the entry at that path and what is below it.
func (c *Client) Tree(ctx context.Context, id, inside string, visit func(*Entry) error) error {
	v, err := c.open(ctx, id)
	if err != nil {
		return err
	}
	if v.plain != nil {
		return visit(v.plainEntry())
	}
	entries := v.tree.iterate(ctx, ".")
	if inside != "" {
		if _, err := v.tree.lookup(ctx, inside); err != nil {
			return fmt.Errorf("%s: %w", v.ID, err)
		}
		entries = v.tree.subtree(ctx, inside)
	}
	for {
		e, ok, err := entries.Next()
		if err != nil {
			return fmt.Errorf("read the tree of %s: %w", v.ID, err)
		}
		if !ok {
			return nil
		}
		if err := visit(e); err != nil {
			return err
		}
	}
}
