package replica_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// What sets the pace is asked before each message, and can refuse it; what it
// refuses is not sent.
func TestSenderKeepsToThePace(t *testing.T) {
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
	snd := newSender(t, bustest.Connect(t, s), "s", opt)
	first := snd.send("n1")
	node.next().ack()
	snd.delivered("the first", first)
	err := snd.Send(bustest.Patient(t), []schemas.NodeID{"n1"}, snd.payload(200), func(error) { t.Error("done was called") })
	bustest.WantIs(t, err, full)
	last := snd.send("n1")
	if p := node.next(); len(p.Chunks[0].Content) != 100 {
		t.Errorf("a message with %d bytes came", len(p.Chunks[0].Content))
	} else {
		p.ack()
	}
	snd.delivered("the last", last)
	small, large := len(snd.payload(100)), len(snd.payload(200))
	if !slices.Equal(asked, []int{small, large, small}) {
		t.Errorf("asked for %v bytes", asked)
	}
}
