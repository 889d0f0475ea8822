package replica_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// Pace is called before each message with its size. A message that it refuses is not sent.
func TestWriterKeepsThePace(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	full, opt := errors.New("full"), quiet
	var asked []int
	opt.Pace = func(_ context.Context, bytes int) error {
		if asked = append(asked, bytes); len(asked) == 2 {
			return full
		}
		return nil
	}
	w := newTestWriter(t, bustest.Connect(t, s), "s", opt)
	first := w.send("n1")
	node.next().ack()
	w.delivered("the first", first)
	err := w.Send(bustest.Context(t), []schemas.NodeID{"n1"}, w.payload(200), func(error) { t.Error("done was called") })
	bustest.WantIs(t, err, full)
	last := w.send("n1")
	if p := node.next(); len(p.Chunks[0].Content) != 100 {
		t.Errorf("a put with %d bytes of content arrived, want the one with 100", len(p.Chunks[0].Content))
	} else {
		p.ack()
	}
	w.delivered("the last", last)
	small, large := len(w.payload(100)), len(w.payload(200))
	if !slices.Equal(asked, []int{small, large, small}) {
		t.Errorf("Pace was called with %v bytes", asked)
	}
}
