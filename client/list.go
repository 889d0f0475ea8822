package client

import (
	"context"
	"errors"
	"fmt"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// VersionInfo is a version with the sealed part of its record. Host and Paths are empty without the
// key, and for versions that are not sealed.
type VersionInfo struct {
	schemas.Version
	Host  string   // where it was saved
	Paths []string // what was saved, absolute
	// Unreadable says why the label cannot be opened; nil if it can. Nothing of such a version
	// can be restored, and it has no Host and no Paths.
	Unreadable error
}

// ListOptions say what to list.
type ListOptions struct {
	Forgotten bool // also what was forgotten and can still be taken back
}

// Records lists the nickname's records, sorted by name.
func (c *Client) Records(ctx context.Context, opt ListOptions) (all []schemas.Record, err error) {
	err = c.list(ctx, "", opt, func(rep *schemas.ListReply) { all = append(all, rep.Records...) })
	if schemas.CodeOf(err) == schemas.UnknownNickname {
		return nil, nil // a vault without a backup is empty
	}
	return all, err
}

// Versions lists a record's versions, newest first.
func (c *Client) Versions(ctx context.Context, record string, opt ListOptions) ([]VersionInfo, error) {
	var all []VersionInfo
	var fingerprint []byte
	err := c.list(ctx, record, opt, func(rep *schemas.ListReply) {
		fingerprint = rep.Fingerprint
		for _, v := range rep.Versions {
			all = append(all, VersionInfo{Version: v})
		}
	})
	if err != nil {
		return nil, err
	}
	k, err := c.vaultKeys(fingerprint)
	if errors.Is(err, ErrNoKey) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	openLabels(k, all)
	return all, nil
}

// openLabels opens the labels of all. One that cannot be opened does not hide the others.
func openLabels(k *seal.Keys, all []VersionInfo) {
	for i := range all {
		v := &all[i]
		if len(v.Sealed) == 0 {
			continue
		}
		l, err := openLabel(k, &v.Version)
		if err != nil {
			v.Unreadable = err
			continue
		}
		v.Host, v.Paths = l.Host, l.Paths
	}
}

// list calls page for every page of a listing: of records or, if record is not empty, of its
// versions.
func (c *Client) list(ctx context.Context, record string, opt ListOptions, page func(*schemas.ListReply)) error {
	req := &schemas.ListRequest{Nickname: c.opt.Nickname, Record: record, Forgotten: opt.Forgotten}
	for {
		var rep schemas.ListReply
		if err := c.ctl.request(ctx, schemas.SubjectList, req, &rep); err != nil {
			return err
		}
		page(&rep)
		if rep.Next == "" {
			return nil
		}
		req.After = rep.Next
	}
}

// Tree calls visit for the entries of a version, in order: all of them or, if inside is not empty,
// the entry at that path and everything below it. An error of visit ends the call.
func (c *Client) Tree(ctx context.Context, id, inside string, visit func(*Entry) error) error {
	v, err := openVersion(ctx, c, id)
	if err != nil {
		return err
	}
	if v.plain != nil {
		return visit(v.plainEntry())
	}
	entries := v.entries.Iterate(ctx, ".")
	if inside != "" {
		if _, err := v.entries.Lookup(ctx, inside); err != nil {
			return fmt.Errorf("%s: %w", v.ID, err)
		}
		entries = v.entries.Subtree(ctx, inside)
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
