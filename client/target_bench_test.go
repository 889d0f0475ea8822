package client

import (
	"fmt"
	"testing"

	"servidor-backup/client/treetest"
)

// BenchmarkPlaceSmall places files of 4 KiB, ten to a folder.
func BenchmarkPlaceSmall(b *testing.B) {
	p, err := openTarget(b.TempDir(), targetOptions{Owner: true, NumericOwner: true})
	if err != nil {
		b.Fatal(err)
	}
	defer p.close()
	content := treetest.Text(4 << 10)
	var dir *targetDir
	for i := 0; b.Loop(); i++ {
		if i%10 == 0 {
			if dir != nil {
				p.leave(dir)
			}
			if dir, err = p.mkdir(&Entry{Path: fmt.Sprint(i), Type: TypeDir, Mode: 0o755}); err != nil {
				b.Fatal(err)
			}
		}
		e := &Entry{Path: fmt.Sprintf("%s/%d", dir.path, i), Type: TypeFile, Mode: 0o644, Size: int64(len(content)), Mtime: 1e18}
		if err := p.putFile(e, content); err != nil {
			b.Fatal(err)
		}
	}
}
