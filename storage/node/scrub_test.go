package node_test

import (
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/storage/node"
	"servidor-backup/storage/nodetest"
)

// Everything is read back in every period, without a request; and the end of the last round
// is known after a restart.
func TestScrubPeriod(t *testing.T) {
	s := nodetest.New(t, 1, schemas.Durability{K: 1}, node.Options{ScrubPeriod: 2 * time.Second})
	n := s.Nodes[0]
	s.Save(s.Chunks(40)...)
	bustest.Eventually(t, "a round", func() bool { return n.Status().Scrub.Ended > 0 })
	ended := n.Status().Scrub.Ended / 1e9
	n.Stop()
	n.Start()
	if st := n.Status().Scrub; st.Ended/1e9 != ended {
		t.Errorf("after the restart the status is %+v", st)
	}
}
