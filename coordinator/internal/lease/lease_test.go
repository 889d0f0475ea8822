package lease

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A lease has one holder at a time. A lease that was given back can be taken at once, and that
// of a holder that has died after its term. The context of a holder ends when the lease is lost.
func TestLease(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	bucket, err := kv.Open(bustest.Context(t), nc, kv.Config{Name: "leases"})
	if err != nil {
		t.Fatal(err)
	}
	const term = 800 * time.Millisecond
	one := New(bucket, term)
	two := New(bucket, term)
	ctx := bustest.Context(t)
	held, release, err := one.Take(ctx, "job")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Leases{one, two} {
		if _, _, err := l.Take(ctx, "job"); !errors.Is(err, ErrHeld) {
			t.Errorf("a lease that is held: %v", err)
		}
	}
	if _, other, err := two.Take(ctx, "another"); err != nil {
		t.Error(err)
	} else {
		other()
	}
	begun := time.Now()
	bustest.Eventually(t, "some renewals", func() bool {
		if _, _, err := two.Take(ctx, "job"); !errors.Is(err, ErrHeld) || held.Err() != nil {
			t.Fatalf("a lease that is renewed: %v, %v", err, held.Err())
		}
		return time.Since(begun) > 2*term
	})
	release()
	if held.Err() == nil {
		t.Error("the context of the holder that gave the lease back does not end")
	}
	_, release, err = two.Take(ctx, "job")
	if err != nil {
		t.Fatal(err)
	}
	release()

	// The holder dies: what it wrote last stays.
	var dead entry
	if _, err := bucket.Edit(ctx, "job", &dead, func() {}, func() (bool, error) {
		dead = entry{Holder: "dead", Term: int64(term)}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	seen := time.Now()
	bustest.Eventually(t, "the lease is taken over", func() bool {
		held, release, err = two.Take(ctx, "job")
		return err == nil
	})
	if time.Since(seen) < term {
		t.Errorf("the lease was taken after %v", time.Since(seen))
	}
	defer func() { release() }()
	// Another coordinator takes the lease away.
	if _, err := bucket.Edit(ctx, "job", &dead, func() {}, func() (bool, error) { dead.Holder = "another"; return true, nil }); err != nil {
		t.Fatal(err)
	}
	<-held.Done()
}
