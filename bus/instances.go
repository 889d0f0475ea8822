package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Instance is a running process of a service, as it announces itself to "nats micro".
type Instance struct {
	ID    string // unique
	Build string // version of the program
}

// instancesQuiet is how long Instances waits for one more answer. Nobody knows how many there
// are.
const instancesQuiet = 100 * time.Millisecond

// Instances returns the processes of a service that answer now, sorted by id.
func Instances(ctx context.Context, nc *nats.Conn, service string) ([]Instance, error) {
	subject, err := micro.ControlSubject(micro.InfoVerb, service, "")
	if err != nil {
		return nil, err
	}
	inbox := nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("listen for the processes of the service %s: %w", service, err)
	}
	defer func() { _ = answers.Unsubscribe() }() // it fails only when the connection is closed
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		return nil, fmt.Errorf("ask for the processes of the service %s: %w", service, err)
	}
	var all []Instance
	for {
		one, cancel := context.WithTimeout(ctx, instancesQuiet)
		m, err := answers.NextMsgWithContext(one)
		cancel()
		if err != nil {
			slices.SortFunc(all, func(a, b Instance) int { return cmp.Compare(a.ID, b.ID) })
			return all, ctx.Err()
		}
		var info micro.Info
		if json.Unmarshal(m.Data, &info) == nil && info.ID != "" {
			all = append(all, Instance{ID: info.ID, Build: info.Metadata["build"]})
		}
	}
}
