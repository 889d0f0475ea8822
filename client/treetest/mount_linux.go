package treetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Mount mounts a new file system of 64 MiB, which mkfs.KIND makes with the arguments, and returns
// where. It is unmounted after the test. Where that is not possible, as without root's rights, the
// test is skipped.
func Mount(t testing.TB, kind string, args ...string) string {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Skipf("no file system of the kind %s can be made: %v", kind, err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "mounted")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), mkfs, append(args, image)...).CombinedOutput(); err != nil {
		t.Skipf("%s: %v\n%s", mkfs, err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		t.Skipf("mount: %v\n%s", err, out)
	}
	unmountAfter(t, at)
	return at
}

// MountAt mounts a file system that needs no disk, such as tmpfs or proc, on the existing folder at,
// or skips the test.
func MountAt(t testing.TB, at, kind string) {
	t.Helper()
	if err := unix.Mount("none", at, kind, 0, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	unmountAfter(t, at)
}

func unmountAfter(t testing.TB, at string) {
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
