package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// stepRepeat is a backup after a change. The other steps have the names of phases.
const stepRepeat = "repeat"

// backUpAndRestore backs up the src of o, backs it up again unchanged, and restores it.
// verify checks the restored tree. All files in the tree reads are read before each backup,
// unless that is "".
func (g *scaling) backUpAndRestore(ctx context.Context, o *ourSystem, x float64, reads string, verify func(restored string) (string, error)) error {
	for _, name := range []string{phaseFirst, phaseUnchanged} {
		if err := g.step(ctx, o, name, x, o.backup(), reads, nil); err != nil {
			return err
		}
	}
	to := filepath.Join(o.dir, "restored")
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	j := o.restore(to)
	err := g.step(ctx, o, phaseRestore, x, j, o.repo, func() (string, error) { return verify(j.tree) })
	return errors.Join(err, os.RemoveAll(to))
}

// sampleEvery restricts a comparison of contents to one in so many files, because comparing
// all would take too long.
const sampleEvery = 37

// million is the scenario of many small files.
func million(ctx context.Context, g *scaling) error {
	for _, full := range []int64{100_000, 1_000_000} {
		count := scaled(full, g.scale, 50)
		src := filepath.Join(g.src, "files")
		if err := makeMillion(ctx, src, int(count)); err != nil {
			return err
		}
		err := g.withSystem(ctx, 1, src, func(o *ourSystem) error {
			return g.backUpAndRestore(ctx, o, float64(count), src, func(restored string) (string, error) {
				c := comparison{every: sampleEvery}
				err := c.compareFolders(src, restored)
				if err == nil && c.files != count {
					err = fmt.Errorf("%d files, not %d", c.files, count)
				}
				return fmt.Sprintf("compared, contents of 1 file in %d", c.every), err
			})
		})
		if err := errors.Join(err, os.RemoveAll(src)); err != nil {
			return err
		}
	}
	return nil
}

// makeMillion makes count small files, 100 in each folder. A smaller count gives the first
// files of a larger one.
func makeMillion(ctx context.Context, dir string, count int) error {
	const perFolder = 100
	var work errgroup.Group
	work.SetLimit(2 * runtime.GOMAXPROCS(0))
	for first := 0; first < count && ctx.Err() == nil; first += perFolder {
		work.Go(func() error {
			folder := first / perFolder
			sub := filepath.Join(dir, fmt.Sprintf("d%03d", folder/100), fmt.Sprintf("e%02d", folder%100))
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
			n := newNoise(fmt.Sprintf("million %d", folder))
			for i := first; i < min(first+perFolder, count); i++ {
				if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%07d", i)), n.bytes(n.IntN(2*kib+1)), 0o644); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return errors.Join(work.Wait(), ctx.Err())
}

// A sparse file has a run of sparseRun bytes of data at each multiple of sparseEvery.
const (
	sparseRun   = mib
	sparseEvery = 16 * mib
)

// sparse is the scenario of a sparse file.
func sparse(ctx context.Context, g *scaling) error {
	src := filepath.Join(g.src, "disk.img")
	data, err := makeSparse(ctx, src, scaled(64*gib, g.scale, sparseEvery))
	if err != nil {
		return err
	}
	return g.withSystem(ctx, 1, src, func(o *ourSystem) error {
		// The data has just been written, so it is in the page cache. Reading the whole file
		// would fill the page cache with holes.
		return g.backUpAndRestore(ctx, o, float64(data)/mib, "", func(restored string) (string, error) { return compareSparse(src, restored) })
	})
}

// makeSparse makes a sparse file of size bytes and returns the number of bytes of data.
func makeSparse(ctx context.Context, path string, size int64) (data int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer closeFile(f, &err)
	n, run := newNoise("sparse"), make([]byte, sparseRun)
	for offset := int64(0); offset+sparseRun <= size; offset += sparseEvery {
		if _, err := io.ReadFull(n, run); err != nil {
			return 0, err
		}
		if _, err := f.WriteAt(run, offset); err != nil {
			return 0, errors.Join(err, ctx.Err())
		}
		data += sparseRun
	}
	return data, errors.Join(f.Truncate(size), ctx.Err())
}

// compareSparse compares two files wherever one of them has data, and compares their disk
// space. It returns a text about the disk space.
func compareSparse(want, got string) (string, error) {
	a, err := os.Open(want)
	if err != nil {
		return "", err
	}
	defer a.Close()
	b, err := os.Open(got)
	if err != nil {
		return "", err
	}
	defer b.Close()
	x, err := a.Stat()
	if err != nil {
		return "", err
	}
	y, err := b.Stat()
	if err != nil {
		return "", err
	}
	if x.Size() != y.Size() {
		return "", fmt.Errorf("size of %s: %d, not %d", got, y.Size(), x.Size())
	}
	for _, f := range []*os.File{a, b} {
		for offset := int64(0); offset < x.Size(); {
			from, to, err := nextData(f, offset, x.Size())
			if err != nil {
				return "", err
			}
			if err := compareRange(a, b, from, to); err != nil {
				return "", err
			}
			offset = to
		}
	}
	// The file system needs some blocks for the positions of the runs: allow 1 %.
	original, copied := diskBytes(x), diskBytes(y)
	if copied > original+original/100 {
		return "", fmt.Errorf("%s uses %d bytes of disk space, the original %d", got, copied, original)
	}
	return fmt.Sprintf("compared; uses %s MiB of disk space, the original %s MiB", number(float64(copied)/mib), number(float64(original)/mib)), nil
}
