package members

import (
	"log/slog"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// A coordinator that learns from another that a node is back must not take the
// old lack of responses for a new one.
func TestResponseTimeBeginsAnewWhenANodeComesBack(t *testing.T) {
	bucket, err := kv.Open(bustest.Context(t), bustest.Connect(t, bustest.Server(t)), kv.Config{Name: "cards"})
	if err != nil {
		t.Fatal(err)
	}
	m := New(bucket, Options{Log: slog.New(slog.DiscardHandler), DownAfter: time.Minute})
	var n schemas.Node
	card := func(state schemas.State) {
		t.Helper()
		_, err := bucket.Edit(bustest.Context(t), "n", &n, func() { n = schemas.Node{} }, func() (bool, error) {
			n = schemas.Node{ID: "n", State: state}
			return true, nil
		})
		if err == nil {
			err = bucket.Scan(bustest.Context(t), "n", func(e kv.Entry) error { m.apply(&e); return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	unresponsive := func() bool {
		n := m.present()["n"]
		return n.card.State == schemas.Up && n.unresponsiveFor(time.Minute, time.Now())
	}
	card(schemas.Up)
	m.nodes["n"].respondedAt = time.Now().Add(-time.Hour)
	card(schemas.Up) // a change of its card is no sign of life
	if !unresponsive() {
		t.Error("the unresponsive node is not noticed")
	}
	card(schemas.Down)
	card(schemas.Up)
	if unresponsive() {
		t.Error("a node that is back counts as unresponsive")
	}
}

// A coordinator that starts after everything was off for long gives the nodes the time to be
// heard before it marks them as gone.
func TestGoneNeedsMissedResponses(t *testing.T) {
	f := newFixture(t, 1, Options{DownAfter: time.Hour, Grace: time.Millisecond})
	f.mustRegister(f.all[0], orderedCard(schemas.Up, 100, 1))
	f.deliver(f.all[0], orderedCard(schemas.Down, 100, 2))
	f.wantState("after the goodbye", schemas.Down)
	const downAfter = 2 * time.Second
	late := f.start(Options{DownAfter: downAfter, Grace: time.Millisecond})
	node := func() member { return late.present()["abc"] }
	tick, bound := time.NewTicker(time.Millisecond), time.After(500*time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-tick.C:
			if n := node(); n.card.State == schemas.Gone && time.Since(n.respondedAt) < downAfter {
				t.Error("the node is gone before it could be heard")
				waiting = false
			}
		case <-bound:
			waiting = false
		}
	}
	bustest.Eventually(t, "the node is gone", func() bool { return node().card.State == schemas.Gone })
}

// A node's trouble is a change of the map, and so is its end. But the map does not change as
// fast as a node's trouble comes and goes.
func TestTroubleIsInTheMap(t *testing.T) {
	f := newFixture(t, 1, Options{DownAfter: 2 * time.Second})
	m := f.all[0]
	other := orderedCard(schemas.Up, 100, 1)
	other.Node.ID, other.Node.Name = "def", "other disk"
	f.mustRegister(m, other)
	card := orderedCard(schemas.Up, 100, 1)
	f.mustRegister(m, card)
	hear := func(trouble schemas.Code) {
		t.Helper()
		other.Seq++
		f.deliver(m, other) // so that it stays up
		card.Seq++
		card.Node.Trouble = string(trouble)
		f.deliver(m, card)
	}
	wantWritable := func(want int) {
		t.Helper()
		if got := len(m.Map().Writable()); got != want {
			t.Errorf("%d nodes are writable, want %d", got, want)
		}
	}
	before := m.Map().Epoch
	hear(schemas.DiskFull)
	wantWritable(1)
	_, err := FindDestinations(m.Map(), schemas.VaultID{}, false) // which needs two
	if schemas.CodeOf(err) != schemas.DiskFull {
		t.Errorf("the error is %v, want the code %s", err, schemas.DiskFull)
	}
	now := m.Map().Epoch
	if now <= before {
		t.Errorf("the epoch went from %d to %d", before, now)
	}
	hear(schemas.DiskFull)
	if epoch := m.Map().Epoch; epoch != now {
		t.Errorf("a heartbeat without news changed the epoch from %d to %d", now, epoch)
	}
	hear("")
	wantWritable(2)
	ended := m.present()["abc"].troubleEnded
	hear(schemas.DiskFull)
	wantWritable(1)
	bustest.Eventually(t, "the end of the trouble is believed again", func() bool {
		hear("")
		return len(m.Map().Writable()) == 2
	})
	if again := time.Since(ended); again < 2*time.Second {
		t.Errorf("the end of the trouble was believed again after %v", again)
	}
}
