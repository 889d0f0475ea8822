package archive

import (
	"path"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
)

// Small files that stand side by side in the walk share a chunk: it compresses
// better than each of them, and costs the nodes and the way to them a fraction.
//
// Only files that have to be read are bundled. One that has not changed since the
// parent version keeps its place in the chunk that it was saved in, so a changed
// file costs itself and not its neighbours; and a bundle ends where too many
// entries lie between its files, so that a restore, which goes in order too,
// needs each of its chunks for a short stretch only.
//
// A bundle's end is decided by the name and size of its last file: where two trees
// have equal runs of files, their bundles fall into step, and are equal chunks.
const (
	// smallFile is the size, in bytes, from which a file has chunks of its own.
	smallFile = 64 << 10
	// Bundles are of minBundle to maxBundle bytes, about avgBundle.
	minBundle = 128 << 10
	avgBundle = 384 << 10
	maxBundle = 768 << 10
	// maxBundleGap is how many entries may lie between two files of a bundle,
	// maxBundleSpan between the first and the last.
	maxBundleGap  = 64
	maxBundleSpan = ahead / 2

	// bundleBorder keeps the draws of bundles apart from those of trees, where a kind of
	// tree stands in this place.
	bundleBorder = 3
)

// bundle is what one reader reads in one go: a file, or neighbours that share a
// chunk.
type bundle []*saving

// bundler gathers the next bundle.
type bundler struct {
	files bundle
	bytes int64
	span  int // entries met since the first file
	gap   int // entries met since the last one
}

// takes reports whether a file may share a chunk.
func (b *bundler) takes(sv *saving) bool {
	e := sv.Entry
	return e.Type == tree.TypeFile && e.Size < smallFile && sv.before == nil && tree.XattrSize(e.Xattrs) <= tree.MaxInlineXattrs
}

// endsBefore reports whether the bundle must end before a file of that size, or before
// an entry that is not part of it (size 0).
func (b *bundler) endsBefore(size int64) bool {
	return len(b.files) > 0 && (b.bytes+size > maxBundle || b.gap > maxBundleGap || b.span >= maxBundleSpan)
}

// pass counts an entry as met.
func (b *bundler) pass() {
	if len(b.files) > 0 {
		b.gap++
		b.span++
	}
}

// add takes a file, and reports whether the bundle ends with it.
func (b *bundler) add(k *seal.Keys, sv *saving) (ends bool) {
	b.files = append(b.files, sv)
	b.bytes += sv.Entry.Size
	b.gap = 0
	return b.bytes >= minBundle && endsBundle(k, sv.Entry)
}

// cut gives out the bundle and begins the next.
func (b *bundler) cut() bundle {
	files := b.files
	*b = bundler{}
	return files
}

func endsBundle(k *seal.Keys, e *tree.Entry) bool {
	draw := uint64(k.Draw(bundleBorder, 0, path.Base(e.Path)))
	return draw*(avgBundle-minBundle) < uint64(e.Size)<<32
}
