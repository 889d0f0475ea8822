package bus_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// A client with one request does not wait until all earlier requests of another client are
// handled.
func TestClientsTakeTurns(t *testing.T) {
	const many = 20
	s := bustest.Server(t)
	began, finish := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(finish) })
	defer release()    // because Stop waits for the handler
	var order []string // without a lock: there is one worker
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
	ask := func(nc *nats.Conn, name string) {
		all.Go(func() {
			if err := bus.Request(bustest.Context(t), nc, "t.list", &schemas.ListRequest{Nickname: name}, &schemas.ListReply{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	waitFor := func(requests int) {
		bustest.Eventually(t, "the requests arrive", func() bool { return microStats(t, modest, "test-service").Endpoints[0].NumRequests == requests })
	}
	ask(greedy, "first")
	bustest.Receive(t, "the first request", began)
	for i := range many {
		ask(greedy, fmt.Sprint("greedy ", i))
	}
	waitFor(1 + many)
	ask(modest, "modest")
	waitFor(1 + many + 1)
	release()
	all.Wait()
	if at := slices.Index(order, "modest"); at < 0 || at > 2 || len(order) != many+2 {
		t.Errorf("the requests were handled in the order %q", order)
	}
}
