package replica_test

import (
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

func TestWatchMapReceivesPublishedMaps(t *testing.T) {
	s := bustest.Server(t)
	nc := bustest.Connect(t, s)
	maps := make(chan *schemas.NodeMap, 10)
	stop, err := replica.WatchMap(nc, func(m *schemas.NodeMap) { maps <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	other := bustest.Connect(t, s)
	if err := other.Publish(schemas.SubjectMap, []byte("no map")); err != nil {
		t.Fatal(err)
	}
	want := &schemas.NodeMap{Epoch: 7, Durability: schemas.Durability{K: 4, M: 2}, Nodes: []schemas.Node{{ID: "a", State: schemas.Down}}}
	if err := replica.PublishMap(other, want); err != nil {
		t.Fatal(err)
	}
	if m := bustest.Receive(t, "the map", maps); m.Epoch != 7 || m.Durability != want.Durability || m.Nodes[0] != want.Nodes[0] {
		t.Errorf("the map is %+v, want %+v", m, want)
	}
}
