package main

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The system inside a command prints no log, and each kind of error once.
func TestSystemInsideACommandPrintsSentences(t *testing.T) {
	var out, err screen
	c := newConsole(newTexts("en"), streams{nil, &out, &err}, (&cli{}).environment())
	log := newSentences(c)
	for range 3 {
		log.Info("ready")
		log.Warn("a put was refused", "error", errors.New("try again"))
		log.With("node", "b").Error("a chunk could not be read", "error", errors.New("input/output error"))
		log.Error("the sweep failed", "error", errors.New("input/output\nerror"))
	}
	want := "warning: a chunk could not be read (b, input/output error)\n" +
		"warning: the sweep failed (input/output; error)\n"
	if diff := cmp.Diff(want, err.String()); diff != "" {
		t.Error(diff)
	}
}
