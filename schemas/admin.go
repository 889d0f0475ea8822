package schemas

// Messages of administrators: policies, states of nodes, forgetting, collection, rebuilding
// the catalogue, status.

// PolicyRequest reads the policies, or changes one, on backup.policy.
type PolicyRequest struct {
	// Set, if not nil, is stored before the answer is made: as the default policy, or
	// with a Nickname as the policy of its vaults.
	Set      *Policy `msgpack:"set,omitempty"`
	Nickname string  `msgpack:"apelido,omitempty"`
}

// Policy is what an administrator has decided. On reading, a nil field means that the administrator
// has decided nothing; on setting, it leaves the stored value as it is.
type Policy struct {
	// Durability with K = 0 removes the administrator's decision: the default holds again.
	Durability *Durability `msgpack:"durability,omitempty"`
	Degraded   *bool       `msgpack:"degraded,omitempty"` // not for a nickname
	// Grace is the time, in ns, for which a node may be down before its replicas are made
	// elsewhere.
	Grace *int64 `msgpack:"grace,omitempty"` // not for a nickname
}

// PolicyReply answers a [PolicyRequest].
type PolicyReply struct {
	Reply
	Policy Policy `msgpack:"policy"` // what the administrator has decided
	// Effective is the durability of new data in vaults that have no policy of their own.
	Effective Durability       `msgpack:"effective"`
	Nicknames []NicknamePolicy `msgpack:"nicknames,omitempty"` // with a policy of their own, sorted
}

// NicknamePolicy is the policy of one nickname.
type NicknamePolicy struct {
	Nickname   string     `msgpack:"apelido"`
	Durability Durability `msgpack:"durability"`
}

// NodeStateRequest changes a node's state, on backup.node.state: to [Draining], back to
// [Up], or to [Removed], which is allowed for nodes that are gone or hold nothing.
type NodeStateRequest struct {
	Node  string `msgpack:"node"` // its name, or its id
	State State  `msgpack:"state"`
	// Force removes a node although it still holds chunks.
	Force bool `msgpack:"force,omitempty"`
}

// Removed is the state in a [NodeStateRequest] that takes a node out of the map.
const Removed State = "removed"

// NodeStateReply answers a [NodeStateRequest] with the new map.
type NodeStateReply struct {
	Reply
	Map *NodeMap `msgpack:"map,omitempty"`
}

// NicknamesRequest lists the nicknames that have a vault, on backup.nicknames.
type NicknamesRequest struct {
	// After continues a list that did not fit one message: the Next of the previous answer.
	After string `msgpack:"after,omitempty"`
}

// NicknamesReply answers a [NicknamesRequest] with nicknames, sorted.
type NicknamesReply struct {
	Reply
	Nicknames []string `msgpack:"apelidos"`
	Next      string   `msgpack:"next,omitempty"` // not empty if there are more
}

// ForgetRequest forgets versions, on backup.forget, or with Undo brings forgotten versions
// back. A forgotten version can be brought back until it is collected.
type ForgetRequest struct {
	Nickname string `msgpack:"apelido"`
	// ID is a version (NAME@NUMBER), or a record's name for all its versions.
	ID   string `msgpack:"id_arquivo"`
	Undo bool   `msgpack:"undo,omitempty"`
}

// ForgetReply answers a [ForgetRequest] with the versions whose state has changed.
type ForgetReply struct {
	Reply
	Versions []string `msgpack:"versions,omitempty"`
}

// DoubtRequest says, on backup.doubt, that a client has found a version to miss something. The
// next backup of the record then takes nothing to be held that it reuses, and asks the nodes.
type DoubtRequest struct {
	Nickname string `msgpack:"apelido"`
	ID       string `msgpack:"id_arquivo"` // NAME@NUMBER
}

// DoubtReply answers a [DoubtRequest].
type DoubtReply struct {
	Reply
}

// CollectRequest starts a garbage collection, or asks for the result of the last one, on
// backup.gc.
type CollectRequest struct {
	Start bool `msgpack:"start,omitempty"`
	// Grace is the age, in ns, from which a forgotten version is collected; nil means the
	// coordinator's default.
	Grace *int64 `msgpack:"grace,omitempty"`
}

// CollectReply answers a [CollectRequest].
type CollectReply struct {
	Reply
	Collection Collection `msgpack:"collection"`
}

// Collection is the state of the newest garbage collection.
type Collection struct {
	Generation uint32 `msgpack:"generation"`
	Started    int64  `msgpack:"started"` // Unix ns
	Ended      int64  `msgpack:"ended"`   // Unix ns, 0 while it runs
	Step       string `msgpack:"step,omitempty"`
	Versions   int64  `msgpack:"versions"` // versions collected; they cannot be brought back
	Marked     int64  `msgpack:"marked"`   // chunks that versions need
	Chunks     int64  `msgpack:"chunks"`   // chunks swept, over all nodes
	Bytes      int64  `msgpack:"bytes"`    // bytes of the swept chunks' records
	Freed      int64  `msgpack:"freed"`    // bytes given back to the file systems
	Skipped    string `msgpack:"skipped,omitempty"`
	Error      string `msgpack:"error,omitempty"`
}

// RebuildRequest restores what the catalogue has lost from the catalogue backup that nodes
// hold, on backup.rebuild.
type RebuildRequest struct{}

// RebuildReply answers a [RebuildRequest].
type RebuildReply struct {
	Reply
	Keys     int64    `msgpack:"keys"`              // number of keys written
	Moved    []Moved  `msgpack:"moved,omitempty"`   // at most [MaxMoved]
	NotAsked []string `msgpack:"missing,omitempty"` // names of nodes that were not asked
}

// MaxMoved is the largest number of versions that a [RebuildReply] names.
const MaxMoved = 1000

// Moved is a version that got a new number because another version has its old one.
type Moved struct {
	Nickname string `msgpack:"apelido"`
	From     string `msgpack:"from"`
	To       string `msgpack:"to"`
}

// StatusRequest asks for the state of the system on backup.status, or for the state of one
// node on [StatusSubject].
type StatusRequest struct{}

// StatusReply is a coordinator's answer: its own state and the reports of the nodes.
type StatusReply struct {
	Reply
	Map        *NodeMap     `msgpack:"map,omitempty"`
	Nodes      []NodeStatus `msgpack:"nodes,omitempty"` // of the nodes that answered
	Collection Collection   `msgpack:"collection"`
	Lost       []Lost       `msgpack:"lost,omitempty"` // versions of which chunks are lost
	// LostMore says that the message has no space for all losses: other versions may have
	// lost chunks too, and the versions in Lost may have lost more chunks than it says.
	LostMore bool `msgpack:"lost_more,omitempty"`
	// Coordinators are those that run, and Servers the NATS servers of a cluster that hold
	// the catalogue. Older coordinators leave both out.
	Coordinators []CoordinatorStatus `msgpack:"coordinators,omitempty"`
	Servers      []ServerStatus      `msgpack:"servers,omitempty"`
}

// CoordinatorStatus is a running coordinator.
type CoordinatorStatus struct {
	ID      string `msgpack:"id"` // that of its NATS micro service
	Version string `msgpack:"version"`
}

// ServerStatus is a NATS server that holds a replica of the catalogue.
type ServerStatus struct {
	Name    string `msgpack:"name"`
	Leader  bool   `msgpack:"leader,omitempty"`
	Current bool   `msgpack:"current"` // it is reachable and has the whole catalogue
}

// Lost is a version of which chunks are lost.
type Lost struct {
	Nickname string `msgpack:"apelido"`
	Version  string `msgpack:"id"`
	Chunks   int64  `msgpack:"chunks"` // lost chunks, each counted in every version that needs it
}
