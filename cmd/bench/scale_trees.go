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

// stepRepeat saves again after a change; the other steps are named as phases are.
const stepRepeat = "repeat"

// cycle saves what o has as its src, saves it again unchanged, and brings it
// back; look is the check of what came back. What is in reads is read before it
// is saved.
func (g *scaling) cycle(ctx context.Context, o *ourSystem, x float64, reads string, look func(back string) (string, error)) error {
	for _, name := range []string{phaseFirst, phaseUnchanged} {
		if err := g.step(ctx, o, name, x, o.backup(), reads, nil); err != nil {
			return err
		}
	}
	to := filepath.Join(o.dir, "back")
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	j := o.restore(to)
	err := g.step(ctx, o, phaseRestore, x, j, o.repo, func() (string, error) { return look(j.tree) })
	return errors.Join(err, os.RemoveAll(to))
}

// contentsOfOne is how many files there are to one whose content is compared,
// where comparing all would take too long.
const contentsOfOne = 37

func million(ctx context.Context, g *scaling) error {
	for _, full := range []int64{100_000, 1_000_000} {
		count := scaled(full, g.scale, 50)
		src := filepath.Join(g.src, "files")
		if err := makeMillion(ctx, src, int(count)); err != nil {
			return err
		}
		err := g.with(ctx, 1, src, func(o *ourSystem) error {
			return g.cycle(ctx, o, float64(count), src, func(back string) (string, error) {
				c := comparison{every: contentsOfOne}
				err := c.trees(src, back)
				if err == nil && c.files != count {
					err = fmt.Errorf("%d files, not %d", c.files, count)
				}
				return fmt.Sprintf("compared, contents of one in %d", c.every), err
			})
		})
		if err := errors.Join(err, os.RemoveAll(src)); err != nil {
			return err
		}
	}
	return nil
}

// makeMillion makes count small files, 100 in each folder. Fewer files are the
// first of more.
func makeMillion(ctx context.Context, dir string, count int) error {
	const perFolder = 100
	var work errgroup.Group
	work.SetLimit(2 * runtime.GOMAXPROCS(0))
	for first := 0; first < count && ctx.Err() == nil; first += perFolder {
		work.Go(func() error {
			folder := first / perFolder
			in := filepath.Join(dir, fmt.Sprintf("d%03d", folder/100), fmt.Sprintf("e%02d", folder%100))
			if err := os.MkdirAll(in, 0o755); err != nil {
				return err
			}
			n := newNoise(fmt.Sprintf("million %d", folder))
			for i := first; i < min(first+perFolder, count); i++ {
				if err := os.WriteFile(filepath.Join(in, fmt.Sprintf("f%07d", i)), n.bytes(n.IntN(2*kib+1)), 0o644); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return errors.Join(work.Wait(), ctx.Err())
}

// A sparse file has one run of data in each so many bytes.
const (
	sparseRun   = mib
	sparseEvery = 16 * mib
)

func sparse(ctx context.Context, g *scaling) error {
	src := filepath.Join(g.src, "disk.img")
	data, err := makeSparse(ctx, src, scaled(64*gib, g.scale, sparseEvery))
	if err != nil {
		return err
	}
	return g.with(ctx, 1, src, func(o *ourSystem) error {
		// The data has just been written, so it is in the page cache; who read
		// the file from end to end would fill that with holes.
		return g.cycle(ctx, o, float64(data)/mib, "", func(back string) (string, error) { return compareSparse(src, back) })
	})
}

// makeSparse makes a file of size bytes, and says how many of them are not holes.
func makeSparse(ctx context.Context, path string, size int64) (data int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer closing(f, &err)
	n, run := newNoise("sparse"), make([]byte, sparseRun)
	for at := int64(0); at+sparseRun <= size; at += sparseEvery {
		if _, err := io.ReadFull(n, run); err != nil {
			return 0, err
		}
		if _, err := f.WriteAt(run, at); err != nil {
			return 0, errors.Join(err, ctx.Err())
		}
		data += sparseRun
	}
	return data, errors.Join(f.Truncate(size), ctx.Err())
}

// compareSparse compares two files wherever either has data, and what they take
// of the disk, which it says.
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
		for at := int64(0); at < x.Size(); {
			from, to, err := nextData(f, at, x.Size())
			if err != nil {
				return "", err
			}
			if err := compareRange(a, b, from, to); err != nil {
				return "", err
			}
			at = to
		}
	}
	took, takes := diskBytes(x), diskBytes(y)
	if takes > took+took/100 { // the file system's own notes of where the runs are
		return "", fmt.Errorf("%s takes %d bytes of disk, the original %d", got, takes, took)
	}
	return fmt.Sprintf("compared; takes %s MiB of disk, the original %s MiB", number(float64(takes)/mib), number(float64(took)/mib)), nil
}
