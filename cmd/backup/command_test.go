//go:build unix

package main

import (
	"testing"
	"time"
)

// What a command writes is saved if the command succeeds, and is no version if it fails.
func TestCommandOutputIsSavedOnlyIfTheCommandSucceeds(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	w.ok("transmit", "--command", "echo one; echo two", "--name", "lines")
	w.ok("transmit", "--command", "--name", "words", "--", "printf", "%s;", "a b", "c")
	for name, want := range map[string]string{"lines": "one\ntwo\n", "words": "a b;c;"} {
		if got := w.ok("download", name, "--to", "-").out; got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	w.expect(exitFailed, []string{"exit status 7", "no version"}, "transmit", "--command", "echo half; exit 7", "--name", "half")
	w.expect(exitFailed, []string{"no version"}, "transmit", "--command", "--name", "half", "--", "/no/such/program")
	w.expect(exitFailed, []string{"half"}, "list", "half")
	w.expect(exitUsage, []string{"--name"}, "transmit", "--command", "true")
}
