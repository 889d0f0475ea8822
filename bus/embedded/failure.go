package embedded

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrFailed is the error that Options.Failed is called with.
var ErrFailed = errors.New("the NATS server cannot write its data any more")

// After a line about an error in its log, the server is asked for its health for a while: it
// says that something failed before it gives the stream or JetStream up.
const (
	healthEvery = 200 * time.Millisecond
	healthFor   = 5 * time.Second
)

// watch calls failed when a stream of a lone server has failed, or JetStream as a whole.
// JetStream takes no message after the first write that fails, even when the disk is well again;
// clients then wait for an answer that never comes. Only a server that is started again writes
// again. watch ends with stop.
func watch(ns *server.Server, errorLogged <-chan struct{}, stop <-chan struct{}, failed func(error)) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	var until time.Time
	bad := false
	for {
		select {
		case <-stop:
			return
		case <-errorLogged:
			until = time.Now().Add(healthFor)
			tick.Reset(healthEvery)
			continue
		case <-tick.C:
		}
		if time.Now().After(until) {
			tick.Stop()
			continue
		}
		// A stream that is being deleted is in ill health for a moment.
		switch h := ns.Healthz(&server.HealthzOptions{}); {
		case h.Status == "ok":
			bad = false
		case !bad:
			bad = true
		default:
			failed(fmt.Errorf("%w: %s", ErrFailed, h.Error))
			return
		}
	}
}
