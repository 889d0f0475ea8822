package restore

import (
	"context"

	"servidor-backup/client/internal/tree"
)

// Entries calls see with all entries of the parts and their paths in the target, in the order in
// which [Run] restores them, and failed with paths that are lost. The entry is valid during the call.
func Entries(ctx context.Context, r *tree.Reader, parts []Part, see func(e *tree.Entry, path string), failed func(path string, err error)) error {
	for _, p := range parts {
		entries := p.entries(ctx, r, failed)
		for {
			e, ok, err := entries.next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if path := p.path(e.Path); path != "" {
				see(e, path)
			}
		}
	}
	return nil
}
