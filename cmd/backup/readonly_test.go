//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"servidor-backup/client/treetest"
)

// Backups on a medium that is mounted read-only are listed, restored and checked, also after
// the system on it was killed. Nothing is saved there, and every refusal says why.
func TestReadOnlyMedium(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can mount")
	}
	w := newWorld(t, 2*time.Minute)
	data, medium := w.dir(), w.dir()
	src := treetest.New(t, 1, treetest.Small)
	p, _ := w.up(data)
	w.transmit("--name", "tree", src)
	p.kill()
	if out, err := exec.Command("mount", "--bind", data, medium).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: a folder cannot be mounted here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", medium).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	if out, err := exec.Command("mount", "-o", "remount,ro,bind", medium).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: a mount cannot be made read-only here: %v: %s", err, out)
	}
	temp := w.dir()
	r := w.local(medium).with("TMPDIR=" + temp)
	r.expect(exitDone, []string{"tree"}, "list")
	r.restores("tree@1", src)
	r.expect(exitDone, nil, "check", "tree")
	r.expect(exitDone, nil, "storage", "--check", "--data", medium)
	for _, args := range [][]string{{"transmit", src}, {"forget", "tree@1"}, {"gc"}} {
		r.expect(exitFailed, []string{"is read-only: nothing can be saved there"}, args...)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("copies of the catalogue are left: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(data, "node", "STORE")); err != nil {
		t.Error(err)
	}
}
