package schemas

// Messages of administrators: policies, states of nodes, forgetting, collection, rebuilding
// the catalogue, status.

// PolicyRequest reads the policies, or changes one, on backup.policy.
type PolicyRequest struct {
	// Set, if given, is changed first: the default, or with a nickname what
	// holds for its vaults.
	Set      *Policy `msgpack:"set,omitempty"`
	Nickname string  `msgpack:"apelido,omitempty"`
}

// Policy is what an operator has decided. A field that is nil was not decided
// (reading), or is left as it is (setting).
type Policy struct {
	// Durability: K = 0 goes back to what holds by itself.
	Durability *Durability `msgpack:"durability,omitempty"`
	Degraded   *bool       `msgpack:"degraded,omitempty"` // not for a nickname
	// Grace is for how long a node may be silent until what it held is made anew
	// elsewhere, in ns.
	Grace *int64 `msgpack:"grace,omitempty"` // not for a nickname
}

// PolicyReply answers it.
type PolicyReply struct {
	Reply
	Policy Policy `msgpack:"policy"` // what was decided
	// Effective is the durability of new data of vaults without a policy of their own.
	Effective Durability       `msgpack:"effective"`
	Nicknames []NicknamePolicy `msgpack:"nicknames,omitempty"` // those with a policy of their own, sorted
}

// NicknamePolicy is the policy of one nickname.
type NicknamePolicy struct {
	Nickname   string     `msgpack:"apelido"`
	Durability Durability `msgpack:"durability"`
}

// NodeStateRequest changes a node's state, on backup.node.state: to [Draining], to
// [Up] again, or to "removed", which is for nodes that are gone or hold nothing.
type NodeStateRequest struct {
	Node  string `msgpack:"node"` // its name, or its id
	State State  `msgpack:"state"`
	// Force removes a node that still holds something.
	Force bool `msgpack:"force,omitempty"`
}

// Removed is what a node that is to be taken out of the map is asked to become.
const Removed State = "removed"

// NodeStateReply answers it with the new map.
type NodeStateReply struct {
	Reply
	Map *NodeMap `msgpack:"map,omitempty"`
}

// ForgetRequest forgets versions, or takes that back, on backup.forget. What is
// forgotten can be taken back until it is collected.
type ForgetRequest struct {
	Nickname string `msgpack:"apelido"`
	// ID is a version (NAME@NUMBER), or a record for all its versions.
	ID   string `msgpack:"id_arquivo"`
	Undo bool   `msgpack:"undo,omitempty"`
}

// ForgetReply answers it with the versions whose state has changed.
type ForgetReply struct {
	Reply
	Versions []string `msgpack:"versions,omitempty"`
}

// CollectRequest starts a collection, or asks how the last one went, on backup.gc.
type CollectRequest struct {
	Start bool `msgpack:"start,omitempty"`
	// Grace is how long ago a version must have been forgotten to be collected, in ns;
	// nil is the coordinator's own.
	Grace *int64 `msgpack:"grace,omitempty"`
}

// CollectReply answers it.
type CollectReply struct {
	Reply
	Collection Collection `msgpack:"collection"`
}

// Collection is what is known of the newest collection.
type Collection struct {
	Generation uint32 `msgpack:"generation"`
	Started    int64  `msgpack:"started"` // Unix ns
	Ended      int64  `msgpack:"ended"`   // Unix ns, 0 while it runs
	Step       string `msgpack:"step,omitempty"`
	Versions   int64  `msgpack:"versions"` // that were forgotten for good
	Marked     int64  `msgpack:"marked"`   // chunks that are needed
	Chunks     int64  `msgpack:"chunks"`   // that were swept, over all nodes
	Bytes      int64  `msgpack:"bytes"`    // of their records
	Freed      int64  `msgpack:"freed"`    // bytes given back to the file systems
	Skipped    string `msgpack:"skipped,omitempty"`
	Error      string `msgpack:"error,omitempty"`
}

// RebuildRequest brings back what a catalogue has lost from the copies that nodes hold,
// on backup.rebuild.
type RebuildRequest struct{}

// RebuildReply answers it.
type RebuildReply struct {
	Reply
	Keys    int64    `msgpack:"keys"`              // that were written
	Moved   []Moved  `msgpack:"moved,omitempty"`   // [MaxMoved] at most
	Missing []string `msgpack:"missing,omitempty"` // names of nodes that were not asked
}

// MaxMoved is how many versions a [RebuildReply] names.
const MaxMoved = 1000

// Moved is a version that got another number, as another one has its own.
type Moved struct {
	Nickname string `msgpack:"apelido"`
	From     string `msgpack:"from"`
	To       string `msgpack:"to"`
}

// StatusRequest asks a coordinator, on backup.status, or a node.
type StatusRequest struct{}

// StatusReply is a coordinator's answer: what it knows and what the nodes say.
type StatusReply struct {
	Reply
	Map        *NodeMap     `msgpack:"map,omitempty"`
	Nodes      []NodeStatus `msgpack:"nodes,omitempty"` // of those that answered
	Collection Collection   `msgpack:"collection"`
	Lost       []Lost       `msgpack:"lost,omitempty"` // versions that miss chunks
	// LostMore says that there is more than Lost has room for: other versions may miss
	// chunks too, and those in it more of them.
	LostMore bool `msgpack:"lost_more,omitempty"`
}

// Lost is a version of which chunks are lost.
type Lost struct {
	Nickname string `msgpack:"apelido"`
	Version  string `msgpack:"id"`
	Chunks   int64  `msgpack:"chunks"` // each counted once, and for every version that needs it
}
