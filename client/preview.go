package client

import (
	"context"

	"servidor-backup/client/internal/archive"
	"servidor-backup/schemas"
)

// Difference is what a backup or a restore would do with a path.
type Difference = archive.Difference

// The differences: a path would be made; its content or what belongs to it would be replaced; it
// would not be in the new version.
const (
	New     = archive.New
	Changed = archive.Changed
	Gone    = archive.Gone
)

// BackupPreview is what a backup would do.
type BackupPreview struct {
	archive.Preview
	Record  string
	Parent  string // id of the version before; "" if there is none
	LeftOut LeftOut
}

// RestorePreview is what a restore would do. The counts are of entries that are not folders.
type RestorePreview struct {
	Version       schemas.Version
	Files, Bytes  int64 // would be restored, with their content
	New, Replaced int64
	Same          int64 // files that are there already
	Fetch         int64 // bytes of files that would be made or replaced: at most so many are fetched
	Failed        int64 // paths that cannot be known, because the version is damaged
}

// parentOf returns the version that a backup would build on, or nil if there is none. It fails if
// the backup would be refused.
func parentOf(ctx context.Context, c *Client, p *plan) (*version, error) {
	v, err := openVersion(ctx, c, p.Name)
	switch schemas.CodeOf(err) {
	case schemas.UnknownNickname, schemas.UnknownRecord, schemas.UnknownVersion:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case v.plain != nil:
		return nil, schemas.Explain(schemas.NameTaken, "name-is-plain", "the name \"{name}\" stands for a file that was sent unsealed: choose another name", "name", p.Name)
	case v.Source != p.sourceFor(c) && !p.Moved:
		return nil, schemas.Explain(schemas.NameTaken, "name-has-other-source", "the name \"{name}\" stands for another source, on another host or in another folder", "name", p.Name)
	}
	return v, nil
}
