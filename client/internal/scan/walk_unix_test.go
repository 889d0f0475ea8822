//go:build unix

package scan

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"servidor-backup/client/treetest"
)

func TestUnreadableFolderIsReported(t *testing.T) {
	if os.Geteuid() == 0 { // root may read everything
		runAsNobody(t)
		return
	}
	dir := treetest.TempDir(t)
	makeFiles(t, dir, "a/x", "b")
	if err := os.Chmod(filepath.Join(dir, "a"), 0); err != nil {
		t.Fatal(err)
	}
	var failed []string
	walkAll(t, []string{dir}, nil, func(it Item) error {
		if errors.Is(it.Err, fs.ErrPermission) {
			failed = append(failed, it.Path)
		}
		return nil
	})
	if !slices.Contains(failed, "a") || slices.Contains(failed, "b") {
		t.Errorf("failed for %q, want a", failed)
	}
}

// runAsNobody runs the test again in a process of a user who is not root.
func runAsNobody(t *testing.T) {
	const nobody = 65534
	// The test program is in a folder that only root may read.
	dir, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self := filepath.Join(dir, "test")
	if err := errors.Join(copyProgram(self), os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as user %d: %v\n%s", nobody, err, out)
	}
}

func copyProgram(to string) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	program, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(program, from)
	return errors.Join(err, program.Close())
}
