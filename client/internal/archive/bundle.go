package archive

import (
	"path"

	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
)

// Small files that are neighbours in the walk share a chunk: together they compress better
// than apart, and cost the nodes and the network a fraction.
//
// Only files that have to be read are bundled. A file that is unchanged since the parent
// version keeps its position in the chunk that it was saved in, so a changed file costs
// itself and not its neighbours. A bundle ends where too many entries lie between its files,
// so that a restore, which goes in the same order, needs each chunk for a short stretch only.
//
// The name and size of a bundle's last file decide that it ends there. So where two trees have
// equal runs of files, their bundles fall into step and become equal chunks.
const (
	// smallFile is the size, in bytes, from which a file has its own chunks.
	smallFile = 64 << 10
	// Bundles have minBundle to maxBundle bytes, about avgBundle.
	minBundle = 128 << 10
	avgBundle = 384 << 10
	maxBundle = 768 << 10
	// maxBundleGap is how many entries may lie between two files of a bundle, maxBundleSpan
	// how many between the first and the last.
	maxBundleGap  = 64
	maxBundleSpan = maxPending / 2

	// bundleDraw separates the draws for bundles from those for trees, which have the kind
	// of the tree in its place.
	bundleDraw = 3
)

// readGroup is what a reader reads in one go: one entry, or the small files of a bundle.
type readGroup []*pendingEntry

// bundler gathers the next bundle.
type bundler struct {
	files readGroup
	bytes int64
	span  int // entries met since the first file
	gap   int // entries met since the last file
}

// accepts reports whether an entry is a file that may share a chunk.
func (b *bundler) accepts(p *pendingEntry) bool {
	e := p.Entry
	return e.Type == tree.TypeFile && e.Size < smallFile && p.recheck == nil && tree.XattrSize(e.Xattrs) <= tree.MaxInlineXattrs
}

// endsBefore reports whether the bundle must end before a file of the given size, or before
// an entry that is not part of it (size 0).
func (b *bundler) endsBefore(size int64) bool {
	return len(b.files) > 0 && (b.bytes+size > maxBundle || b.gap > maxBundleGap || b.span >= maxBundleSpan)
}

// countEntry counts an entry that the walk has met.
func (b *bundler) countEntry() {
	if len(b.files) > 0 {
		b.gap++
		b.span++
	}
}

// add adds a file, and reports whether the bundle ends with it.
func (b *bundler) add(k *seal.Keys, p *pendingEntry) (ends bool) {
	b.files = append(b.files, p)
	b.bytes += p.Entry.Size
	b.gap = 0
	return b.bytes >= minBundle && endsBundle(k, p.Entry)
}

// takeBundle returns the bundle and begins the next.
func (b *bundler) takeBundle() readGroup {
	files := b.files
	*b = bundler{}
	return files
}

// endsBundle draws whether a bundle ends with this file. The chance is in proportion to the
// file's size.
func endsBundle(k *seal.Keys, e *tree.Entry) bool {
	draw := uint64(k.Draw(bundleDraw, 0, path.Base(e.Path)))
	return draw*(avgBundle-minBundle) < uint64(e.Size)<<32
}
