package client

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// version is a version that was opened for reading. A version is sealed, or it came through the
// seed's transmit as one plain file.
type version struct {
	schemas.Version
	label   *label           // nil if plain
	entries *tree.Reader     // nil if plain
	chunks  *download.Reader // nil if plain
	plain   *[]byte          // the whole content; nil if sealed
}

// openVersion asks the coordinator for a version and prepares to read it.
func openVersion(ctx context.Context, c *Client, id string) (*version, error) {
	var rep schemas.DownloadReply
	if err := c.ctl.requestOrRetry(ctx, schemas.SubjectDownload, &schemas.DownloadRequest{Nickname: c.opt.Nickname, ID: id}, &rep); err != nil {
		return nil, err
	}
	if err := checkAnswer(&rep, id); err != nil {
		return nil, fmt.Errorf("the coordinator's answer about %s: %w", id, err)
	}
	v := &version{Version: *rep.Version, plain: rep.Content}
	if v.RootKind == schemas.Plain {
		return v, nil
	}
	data, err := c.dataConn(ctx)
	if err != nil {
		return nil, err
	}
	k, err := c.vaultKeys(rep.Fingerprint)
	if err != nil {
		return nil, err
	}
	if v.label, err = openLabel(k, &v.Version); err != nil {
		return nil, err
	}
	v.chunks = download.NewReader(download.Options{
		Connected: c.ctl.nc.IsConnected,
		Keys:      k, Vault: v.Vault, Replicas: replica.NewReader(data, rep.Map), Throttle: c.download,
		NewestMap: c.Nodes, Status: c.opt.Status,
	})
	v.entries = tree.NewReader(v.chunks.TreeNodes, v.Root)
	return v, nil
}

// checkAnswer checks that rep is about the version with that id, and that plain content matches the
// version's root.
func checkAnswer(rep *schemas.DownloadReply, id string) error {
	v := rep.Version
	if v == nil {
		return errors.New("it contains no version")
	}
	record, number, err := schemas.ParseVersionID(id)
	switch {
	case err != nil:
		return err
	case v.Record != record || number != 0 && v.Number != number:
		return fmt.Errorf("it is about %s: %w", v.ID, seal.ErrDamaged)
	case (v.RootKind == schemas.Plain) != (rep.Content != nil):
		return fmt.Errorf("it does not say whether the version is sealed: %w", seal.ErrDamaged)
	case rep.Content != nil && schemas.PlainChunkID(v.Vault, *rep.Content) != v.Root:
		return fmt.Errorf("the content does not match the version: %w", seal.ErrDamaged)
	}
	return nil
}

// plainEntry returns the entry of a plain file, of which only the content is known.
func (v *version) plainEntry() *tree.Entry {
	return &tree.Entry{Path: v.Record, Type: tree.TypeFile, Mode: 0o644, Size: int64(len(*v.plain)), Mtime: v.Created}
}

// inside returns the entry at a path as a user writes it: slashes and dots at the ends do not
// matter, and the path may begin with the name of the saved folder.
func (v *version) inside(ctx context.Context, p string) (*tree.Entry, error) {
	clean := path.Clean(strings.Trim(p, "/"))
	e, err := v.entries.Lookup(ctx, clean)
	if err == nil || v.label.Top == "" {
		return e, err
	}
	if clean == v.label.Top {
		return v.entries.Lookup(ctx, ".")
	}
	if rest, ok := strings.CutPrefix(clean, v.label.Top+"/"); ok {
		if e, err := v.entries.Lookup(ctx, rest); err == nil {
			return e, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", v.ID, err)
}
