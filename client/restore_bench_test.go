package client

import (
	"fmt"
	"testing"

	"servidor-backup/schemas"
)

// BenchmarkPlaceSmall places files of 4 KiB, ten to a folder.
func BenchmarkPlaceSmall(b *testing.B) {
	p, err := newPlacer(b.TempDir(), placeOptions{Owner: true, NumericOwner: true})
	if err != nil {
		b.Fatal(err)
	}
	defer p.close()
	content := text(4 << 10)
	var dir *Entry
	for i := 0; b.Loop(); i++ {
		if i%10 == 0 {
			if dir != nil {
				p.leaveDir(dir)
			}
			dir = &Entry{Path: fmt.Sprint(i), Type: TypeDir, Mode: 0o755}
			if err := p.place(dir); err != nil {
				b.Fatal(err)
			}
		}
		e := &Entry{Path: fmt.Sprintf("%s/%d", dir.Path, i), Type: TypeFile, Mode: 0o644, Size: int64(len(content)), Mtime: 1e18}
		if err := p.whole(e, content); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUnseal opens chunks as a restore does, where they stand. Each needs
// a fresh frame, whose copying is in the figures.
func BenchmarkUnseal(b *testing.B) {
	k := newKeys(testKey())
	for _, in := range benchInputs() {
		b.Run(in.name, func(b *testing.B) {
			id := k.dataID(in.plain)
			frame, err := k.sealData(nil, id, in.plain, sealOptions{})
			if err != nil {
				b.Fatal(err)
			}
			fresh, buf := make([]byte, len(frame)), make([]byte, 0, schemas.MaxContent)
			b.SetBytes(int64(len(in.plain)))
			for b.Loop() {
				copy(fresh, frame)
				if _, err := k.unseal(buf, id, fresh); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
