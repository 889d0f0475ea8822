package schemas

// Messages of maintenance: what a node reports about its surveys, scrubs and sweeps, and
// what coordinators ask of nodes for a collection and for the catalogue backup.

// NodeStatusReply is a node's answer.
type NodeStatusReply struct {
	Reply
	Status NodeStatus `msgpack:"node_status"`
}

// NodeStatus is how things are at one node.
type NodeStatus struct {
	Node   Node         `msgpack:"node"`
	Epoch  uint64       `msgpack:"epoch"` // of the map that it follows
	Survey Survey       `msgpack:"survey"`
	Scrub  ScrubStatus  `msgpack:"scrub"`
	Sweep  *SweepStatus `msgpack:"sweep,omitempty"`
}

// Survey is what a node found out about the chunks that it answers for: those of
// which it is the first that holds something. Over all nodes, each chunk is counted
// once.
type Survey struct {
	Epoch   uint64  `msgpack:"epoch"`   // of the map that was surveyed
	Ended   int64   `msgpack:"ended"`   // Unix ns, 0 before the first
	Running bool    `msgpack:"running"` // a newer one is under way
	Done    float64 `msgpack:"done"`    // how much of it, 0 to 1
	// Levels has an entry for every durability and number of losses that chunks would
	// survive now.
	Levels []Level `msgpack:"levels,omitempty"`
	// Strays are parts here that belong elsewhere and are not there yet.
	Misplaced int64  `msgpack:"misplaced"`
	ToHeal    int64  `msgpack:"to_heal"` // parts that this node is to make or move
	Healed    int64  `msgpack:"healed"`  // parts made or moved since the program started
	Bytes     int64  `msgpack:"bytes"`   // of those
	Left      int64  `msgpack:"left"`    // ns until all that is to be healed is, at the rate so far; 0 if unknown
	Dropped   int64  `msgpack:"dropped"` // parts given up after their owners had them
	Waiting   string `msgpack:"waiting,omitempty"`
}

// Level counts chunks of one durability.
type Level struct {
	Durability Durability `msgpack:"durability"`
	// Spare is how many more nodes can be lost: M or more is whole, less is
	// endangered, negative is lost.
	Margin int   `msgpack:"margin"`
	Chunks int64 `msgpack:"chunks"`
}

// ScrubStatus is how far a node has come in reading everything back.
type ScrubStatus struct {
	Running bool    `msgpack:"running"`
	Done    float64 `msgpack:"done"`  // of this round, 0 to 1
	Ended   int64   `msgpack:"ended"` // of the last whole round, Unix ns
	Found   int64   `msgpack:"found"` // damaged chunks, since the program started
}

// SweepStatus is how the sweep of a generation went at one node.
type SweepStatus struct {
	Generation uint32 `msgpack:"generation"`
	Ended      bool   `msgpack:"ended"`
	Chunks     int64  `msgpack:"chunks"`
	Bytes      int64  `msgpack:"bytes"`
	Freed      int64  `msgpack:"freed"`
	Error      string `msgpack:"error,omitempty"`
}

// GenerationRequest tells a node that a collection begins, on storage.generation.N.
// The number is larger than all before.
type GenerationRequest struct {
	Generation uint32 `msgpack:"generation"`
}

// GenerationReply answers it, after the node is in that generation.
type GenerationReply struct {
	Reply
}

// MarkRequest says that chunks are needed, on storage.mark.N.
type MarkRequest struct {
	Generation uint32  `msgpack:"generation"`
	Vault      VaultID `msgpack:"vault"`
	IDs        []byte  `msgpack:"id_arquivo"` // 32 bytes each
}

// MarkReply answers it. Both fields have a bit for each id, as in [HaveReply].
type MarkReply struct {
	Reply
	Have []byte `msgpack:"have"` // some part of it is held
	// Fresh: it is held and had not been marked in this generation.
	Fresh []byte `msgpack:"fresh"`
}

// SweepRequest says that everything needed is marked, on storage.sweep.N: what was
// last put, said to be held or marked before the generation Before is forgotten, and
// segments are compacted. The answer comes at once; a [StatusRequest] tells how it goes.
type SweepRequest struct {
	Generation uint32 `msgpack:"generation"`
	Before     uint32 `msgpack:"before"`
	Epoch      uint64 `msgpack:"epoch"` // of the map by which owners were marked
}

// SweepReply answers it.
type SweepReply struct {
	Reply
}

// ScrubRequest starts a scrub now, on storage.scrub.N.
type ScrubRequest struct{}

// ScrubReply answers it.
type ScrubReply struct {
	Reply
}

// ChunksRequest asks a node which whole chunks of a vault it holds, in the order of
// their ids, on storage.chunks.N.
type ChunksRequest struct {
	Vault VaultID  `msgpack:"vault"`
	After *ChunkID `msgpack:"after,omitempty"`
}

// ChunkIDsReply answers it. No more ids mean that there are no more.
type ChunkIDsReply struct {
	Reply
	IDs []byte `msgpack:"id_arquivo"` // 32 bytes each
}

// CatalogueEntry is the content of the plain chunks in which nodes keep copies of the
// catalogue, in the vault [CatalogueVault]: one value of one key. Of several for
// one key, the one with the highest revision holds.
type CatalogueEntry struct {
	Key      string `msgpack:"key"`
	Revision uint64 `msgpack:"revision"`
	Value    []byte `msgpack:"value,omitempty"`
	Deleted  bool   `msgpack:"deleted,omitempty"`
}
