package coordinator

import (
	"errors"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/kv"
)

// One at a time has a lease. Given back it is free at once; from who has died it is
// taken after the term, and who lost it is told.
func TestLease(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	kv, err := kv.Open(bustest.Patient(t), nc, kv.Config{Name: "leases"})
	if err != nil {
		t.Fatal(err)
	}
	const term = 800 * time.Millisecond
	one := &leases{kv: kv, term: term, seen: map[string]sighting{}}
	two := &leases{kv: kv, term: term, seen: map[string]sighting{}}
	ctx := bustest.Patient(t)
	held, release, err := one.take(ctx, "job")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*leases{one, two} {
		if _, _, err := l.take(ctx, "job"); !errors.Is(err, errHeld) {
			t.Errorf("a lease that is held: %v", err)
		}
	}
	if _, other, err := two.take(ctx, "another"); err != nil {
		t.Error(err)
	} else {
		other()
	}
	begun := time.Now()
	bustest.Eventually(t, "some renewals", func() bool {
		if _, _, err := two.take(ctx, "job"); !errors.Is(err, errHeld) || held.Err() != nil {
			t.Fatalf("a lease that is renewed: %v, %v", err, held.Err())
		}
		return time.Since(begun) > 2*term
	})
	release()
	if held.Err() == nil {
		t.Error("who has given it back may go on")
	}
	// It is free.
	_, release, err = two.take(ctx, "job")
	if err != nil {
		t.Fatal(err)
	}
	release()

	// One who has died: what he wrote last stands.
	var dead leaseEntry
	if _, err := kv.Edit(ctx, "job", &dead, func() {}, func() (bool, error) {
		dead = leaseEntry{Holder: "dead", Term: int64(term)}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	seen := time.Now()
	bustest.Eventually(t, "the lease is taken over", func() bool {
		held, release, err = two.take(ctx, "job")
		return err == nil
	})
	if time.Since(seen) < term {
		t.Errorf("it was taken after %v", time.Since(seen))
	}
	defer func() { release() }()
	// Somebody takes it away.
	if _, err := kv.Edit(ctx, "job", &dead, func() {}, func() (bool, error) { dead.Holder = "thief"; return true, nil }); err != nil {
		t.Fatal(err)
	}
	<-held.Done()
}
