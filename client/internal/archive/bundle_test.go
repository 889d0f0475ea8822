package archive

import (
	"fmt"
	"slices"
	"testing"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
)

// bundleAll bundles files as a walk does that meets nothing else. It returns the paths of each
// bundle.
func bundleAll(names []string) (all [][]string) {
	k, b := seal.New(seal.VaultKey(clienttest.Key())), bundler{}
	cut := func() {
		var group []string
		for _, p := range b.takeBundle() {
			group = append(group, p.Entry.Path)
		}
		if group != nil {
			all = append(all, group)
		}
	}
	for i, name := range names {
		p := &pendingEntry{Item: scan.Item{Entry: &tree.Entry{Path: name, Type: tree.TypeFile, Size: int64(500 + i%7*2000)}}}
		if b.endsBefore(p.Entry.Size) {
			cut()
		}
		if b.add(k, p) {
			cut()
		}
		b.countEntry()
	}
	cut()
	return all
}

func fileNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("folder/file-%05d", i))
	}
	return names
}

func TestBundlesFallIntoStepAfterInsertion(t *testing.T) {
	names := fileNames(7000)
	before := bundleAll(names)
	if joined := slices.Concat(before...); !slices.Equal(joined, names) {
		t.Fatal("the bundles together are not the files")
	}
	if n := len(before); n < 50 || n > 300 {
		t.Errorf("46 MB of files are %d bundles, want 50 to 300", n)
	}
	// Seven are inserted, so that the other files keep their sizes.
	after := bundleAll(slices.Insert(slices.Clone(names), 3000, "folder/n1", "folder/n2", "folder/n3", "folder/n4", "folder/n5", "folder/n6", "folder/n7"))
	common := 0
	for _, b := range after {
		if slices.ContainsFunc(before, func(a []string) bool { return slices.Equal(a, b) }) {
			common++
		}
	}
	if common < len(before)-5 {
		t.Errorf("after an insertion %d of %d bundles are the same", common, len(before))
	}
}

func TestBundlesAreBounded(t *testing.T) {
	var b bundler
	k := seal.New(seal.VaultKey(clienttest.Key()))
	small := func() *pendingEntry {
		return &pendingEntry{Item: scan.Item{Entry: &tree.Entry{Path: "f", Type: tree.TypeFile, Size: 1}}}
	}
	b.add(k, small())
	for range maxBundleGap {
		b.countEntry()
	}
	if b.endsBefore(0) {
		t.Error("a bundle ends too early")
	}
	b.countEntry()
	if !b.endsBefore(0) {
		t.Error("a bundle continues after a long gap")
	}
	b.takeBundle()
	for i := 0; ; i++ {
		if b.add(k, small()); b.endsBefore(1) {
			break
		}
		if b.countEntry(); i > maxPending {
			t.Fatal("a bundle spans more entries than may be pending")
		}
	}
	for name, e := range map[string]tree.Entry{
		"large":      {Type: tree.TypeFile, Size: smallFile},
		"folder":     {Type: tree.TypeDir},
		"attributes": {Type: tree.TypeFile, Xattrs: []tree.Xattr{{Name: "user.a", Value: make([]byte, tree.MaxInlineXattrs)}}},
	} {
		if b.accepts(&pendingEntry{Item: scan.Item{Entry: &e}}) {
			t.Errorf("%s: the entry is bundled", name)
		}
	}
}
