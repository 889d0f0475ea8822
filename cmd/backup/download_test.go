//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a restore could not set, or could not make, is counted and named, and the command ends with
// 3. What belongs to the user who restores is no reason for that.
func TestRestoreSaysWhatIsMissing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of others and devices")
	}
	w := newWorld(t, time.Minute)
	_, url := w.up(w.dir())
	w = w.asNobody().with("BACKUP_SERVER=" + url)
	theirs, mine := filepath.Join(w.sharedDir(), "theirs"), filepath.Join(w.sharedDir(), "mine")
	for i := range 5 {
		w.write(filepath.Join(theirs, fmt.Sprint(i)), []byte("x"))
	}
	w.write(filepath.Join(mine, "letter"), []byte("y"))
	for _, path := range []string{mine, filepath.Join(mine, "letter")} {
		if err := os.Chown(path, int(w.cred.Uid), int(w.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	to := w.sharedDir()
	w.chmod(to, 0o777)
	w.transmit(theirs)
	w.transmit(mine)
	w.expect(exitDone, nil, "download", "mine", "--to", to)

	o := w.expect(exitPartial, []string{"owner", "and 3 more paths", "6 paths lack"}, "download", "theirs", "--to", to)
	if n := strings.Count(o.err, "warning"); n != namedOwners {
		t.Errorf("%d paths are named, want %d:\n%s", n, namedOwners, o.err)
	}
	o = w.expect(exitPartial, nil, "download", "theirs", "--to", to, "--force", "--json")
	if got := parse[jsonRestored](t, o.out); got.Incomplete != 6 || got.Failed != 0 || strings.Count(o.err, `"warning"`) != 6 {
		t.Errorf("%+v, want 6 incomplete paths, each named:\n%s", got, o.err)
	}

	device := filepath.Join(mine, "device")
	if err := syscall.Mknod(device, syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		t.Skipf("no device can be made here: %v", err)
	}
	w.transmit(mine)
	o = w.expect(exitPartial, []string{"mine/device", "left out"}, "download", "mine", "--to", to, "--force", "--json")
	if got := parse[jsonRestored](t, o.out); got.Incomplete != 1 || got.Failed != 0 || got.Files != 1 {
		t.Errorf("%+v, want one incomplete path, which is no restored entry", got)
	}
}
