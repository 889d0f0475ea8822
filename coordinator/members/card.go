package members

import (
	"time"

	"servidor-backup/schemas"
)

// card is what the bucket has of a node.
type card struct {
	schemas.Node
	cardOrder
	// Drain says that an administrator wants the node empty, whether it is up or not.
	Drain bool `msgpack:"drain,omitempty"`
	// Empty says that the node held nothing when it was removed.
	Empty bool `msgpack:"empty,omitempty"`

	// Run is the last run of the node's folder that is known, 0 if none is, and Position how far
	// the folder was written when the run registered or ended.
	Run      uint64 `msgpack:"run,omitempty"`
	Position uint64 `msgpack:"position,omitempty"`
	// Losses counts what no version that began before can rest on: the node came back with an
	// older folder, or it ceased to know of damage, which was healed or went with its segment.
	Losses uint64 `msgpack:"losses,omitempty"`
	// Damage says that the node knows of damage.
	Damage bool `msgpack:"damage,omitempty"`
}

// cardOrder is the position of a card among all cards of a node.
type cardOrder struct {
	Started int64  `msgpack:"started,omitempty"` // when the node's process started, Unix ns
	Seq     uint64 `msgpack:"seq,omitempty"`     // number of the card within the process
}

func orderOf(r *schemas.RegisterRequest) cardOrder { return cardOrder{r.Started, r.Seq} }

// before reports whether a card is older than another one. A card without an order is never
// older: its node does not order its cards yet.
func (o cardOrder) before(other cardOrder) bool {
	return o.Started > 0 && (o.Started < other.Started || o.Started == other.Started && o.Seq < other.Seq)
}

func checkCard(n *schemas.Node) error {
	if !schemas.ValidNodeID(n.ID) {
		return schemas.Errorf(schemas.BadRequest, "%q is not a node id: 1 to 32 lower-case letters and digits", n.ID)
	}
	if err := schemas.CheckNickname(n.Name); err != nil {
		return schemas.Errorf(schemas.BadName, "the node's name: %v", err)
	}
	if n.Weight < 1 {
		return schemas.Errorf(schemas.BadRequest, "node %s has the weight 0, at least 1 is needed", n.ID)
	}
	return nil
}

// enterState changes the state and notes the time. A node that is gone was lost when it went
// down, so the time stays.
func (c *card) enterState(s schemas.State) {
	if c.State != schemas.Down || s != schemas.Gone {
		c.Since = time.Now().UnixNano()
	}
	c.State = s
}

// markUnreachable makes a reachable node down. A draining one is gone at once: its replicas
// are needed elsewhere anyway.
func (c *card) markUnreachable() {
	switch {
	case !c.State.Reachable():
	case c.Drain:
		c.enterState(schemas.Gone)
	default:
		c.enterState(schemas.Down)
	}
}

// drain marks the node as to be emptied.
func (c *card) drain() {
	c.Drain = true
	switch c.State {
	case schemas.Up:
		c.enterState(schemas.Draining)
	case schemas.Down:
		c.enterState(schemas.Gone)
	}
}

// takeBack ends draining, or the removal of the node, and the remark that it came back with an
// older folder. A node that was removed is down until its next heartbeat.
func (c *card) takeBack() {
	c.Drain, c.Empty, c.Older = false, false, 0
	switch c.State {
	case schemas.Draining:
		c.enterState(schemas.Up)
	case schemas.Removed:
		c.enterState(schemas.Down)
	}
}

// remove removes the node if it is empty or gone, or if force is set.
func (c *card) remove(h *heard, force bool) error {
	if c.State == schemas.Removed {
		return nil
	}
	empty := h.responded && h.latest.Chunks == 0
	switch {
	case empty || force || c.State == schemas.Gone:
	case h.responded:
		return schemas.Explain(schemas.NotNow, "node-holds-chunks", "storage node {node} is {state} and holds {chunks} chunks: drain it first, or wait until it is gone", "node", c.Name, "state", c.State, "chunks", h.latest.Chunks)
	default:
		return schemas.Explain(schemas.NotNow, "node-is-unknown", "storage node {node} is {state}, and it is not known what it holds: start it, or wait until it is gone", "node", c.Name, "state", c.State)
	}
	c.Drain, c.Empty = false, empty
	c.enterState(schemas.Removed)
	return nil
}
