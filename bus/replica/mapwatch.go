package replica

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"servidor-backup/schemas"
)

// WatchMap calls receive with every node map that a coordinator publishes, from one
// goroutine, until stop is called. A map may come twice, or an older one after a newer
// one. A map that was published while the connection was lost never comes, so a caller
// that must not miss a map also asks for it from time to time.
func WatchMap(nc *nats.Conn, receive func(*schemas.NodeMap)) (stop func(), err error) {
	sub, err := nc.Subscribe(schemas.SubjectMap, func(m *nats.Msg) {
		var rep schemas.NodesReply
		if schemas.Unmarshal(m.Data, &rep) == nil && rep.Err() == nil && rep.Map != nil {
			receive(rep.Map)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("watch the node map: %w", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil
}

// PublishMap publishes a node map to all callers of [WatchMap].
func PublishMap(nc *nats.Conn, m *schemas.NodeMap) error {
	b, err := schemas.Marshal(&schemas.NodesReply{Reply: schemas.OK, Map: m})
	if err != nil {
		return err
	}
	return nc.Publish(schemas.SubjectMap, b)
}
