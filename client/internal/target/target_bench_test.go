package target

import (
	"fmt"
	"testing"

	"servidor-backup/client/internal/tree"
	"servidor-backup/client/treetest"
)

// BenchmarkPlaceSmall places files of 4 KiB, ten to a folder.
func BenchmarkPlaceSmall(b *testing.B) {
	p, err := Open(b.TempDir(), Options{Owner: true, NumericOwner: true})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	content := treetest.Text(4 << 10)
	var dir *Dir
	for i := 0; b.Loop(); i++ {
		if i%10 == 0 {
			if dir != nil {
				p.Leave(dir)
			}
			if dir, err = p.Mkdir(&tree.Entry{Path: fmt.Sprint(i), Type: tree.TypeDir, Mode: 0o755}); err != nil {
				b.Fatal(err)
			}
		}
		e := &tree.Entry{Path: fmt.Sprintf("%s/%d", dir.Path, i), Type: tree.TypeFile, Mode: 0o644, Size: int64(len(content)), Mtime: 1e18}
		if err := p.PutFile(e, content); err != nil {
			b.Fatal(err)
		}
	}
}
