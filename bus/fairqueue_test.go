package bus_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// Who asks for one thing does not wait until another has got the many that it
// asked for before.
func TestAskersTakeTurns(t *testing.T) {
	const many = 20
	s := bustest.Server(t)
	began, finish := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(finish) })
	defer release()    // the service's end waits for it
	var order []string // of one worker
	handle(t, newService(t, bustest.Connect(t, s), bus.ServiceConfig{Workers: 1}), "t.list",
		func(_ context.Context, req *schemas.ListRequest) (any, error) {
			if req.Nickname == "first" {
				close(began)
				<-finish
			}
			order = append(order, req.Nickname)
			return &schemas.ListReply{Reply: schemas.OK}, nil
		})
	greedy, modest := bustest.Connect(t, s), bustest.Connect(t, s)
	var all sync.WaitGroup
	ask := func(greed bool, name string) {
		nc := modest
		if greed {
			nc = greedy
		}
		all.Go(func() {
			if err := bus.Request(bustest.Patient(t), nc, "t.list", &schemas.ListRequest{Nickname: name}, &schemas.ListReply{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	come := func(n int) {
		bustest.Eventually(t, "the requests have come", func() bool { return microStats(t, modest, "test-service").Endpoints[0].NumRequests == n })
	}
	ask(true, "first")
	bustest.Receive(t, "the first request", began)
	for i := range many {
		ask(true, fmt.Sprint("greedy ", i))
	}
	come(1 + many)
	ask(false, "modest")
	come(1 + many + 1)
	release()
	all.Wait()
	if at := slices.Index(order, "modest"); at < 0 || at > 2 || len(order) != many+2 {
		t.Errorf("the order was %q", order)
	}
}
