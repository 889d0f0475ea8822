package replica

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"servidor-backup/schemas"
)

// WatchMap calls newer with every node map that a coordinator publishes, from one
// goroutine, until stop is called. Maps may come twice, or an older one after a newer
// one; and one that was published while the connection was away never comes, so
// whoever must not miss any asks for it from time to time.
func WatchMap(nc *nats.Conn, newer func(*schemas.NodeMap)) (stop func(), err error) {
	sub, err := nc.Subscribe(schemas.SubjectMap, func(m *nats.Msg) {
		var rep schemas.NodesReply
		if schemas.Unmarshal(m.Data, &rep) == nil && rep.Err() == nil && rep.Map != nil {
			newer(rep.Map)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("follow the node map: %w", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil
}

// PublishMap is what [WatchMap] hears.
func PublishMap(nc *nats.Conn, m *schemas.NodeMap) error {
	b, err := schemas.Marshal(&schemas.NodesReply{Reply: schemas.OK, Map: m})
	if err != nil {
		return err
	}
	return nc.Publish(schemas.SubjectMap, b)
}
