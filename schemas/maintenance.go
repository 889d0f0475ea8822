package schemas

// Messages of maintenance: a node's reports about its surveys, scrubs and sweeps, and the
// requests of coordinators to nodes for a collection and for the catalogue backup.

// NodeStatusReply is a node's answer to a [StatusRequest].
type NodeStatusReply struct {
	Reply
	Status NodeStatus `msgpack:"node_status"`
}

// NodeStatus is a node's report about itself.
type NodeStatus struct {
	Node   Node         `msgpack:"node"`
	Epoch  uint64       `msgpack:"epoch"` // of the map that the node follows
	Survey Survey       `msgpack:"survey"`
	Scrub  ScrubStatus  `msgpack:"scrub"`
	Sweep  *SweepStatus `msgpack:"sweep,omitempty"`
}

// Survey is what a node has found out about the chunks that it reports: those of which it
// is the first node, in the order of placement, that holds a part. Over all nodes each
// chunk is counted once.
type Survey struct {
	Epoch   uint64  `msgpack:"epoch"`   // of the map under which the survey was made
	Ended   int64   `msgpack:"ended"`   // Unix ns, 0 before the first survey has ended
	Running bool    `msgpack:"running"` // a newer survey is under way
	Done    float64 `msgpack:"done"`    // progress of the running survey, 0 to 1
	// Newer is the number of parts that have come to this node since the survey began. They
	// are not in the figures, or not all of them.
	Newer int64 `msgpack:"newer,omitempty"`
	// Levels has an entry for every durability and every number of losses that chunks
	// would survive now.
	Levels []Level `msgpack:"levels,omitempty"`
	// Misplaced is the number of parts that this node holds for other nodes that do not
	// hold them yet.
	Misplaced int64  `msgpack:"misplaced"`
	ToHeal    int64  `msgpack:"to_heal"` // parts that this node has yet to make or move
	Healed    int64  `msgpack:"healed"`  // parts made or moved since the program started
	Bytes     int64  `msgpack:"bytes"`   // bytes of the healed parts
	TimeLeft  int64  `msgpack:"left"`    // estimated ns until healing is complete; 0 if unknown
	Dropped   int64  `msgpack:"dropped"` // parts dropped after their assigned nodes held them
	Waiting   string `msgpack:"waiting,omitempty"`
}

// Level counts chunks of one durability.
type Level struct {
	Durability Durability `msgpack:"durability"`
	// Margin is the number of further nodes that can be lost without losing the chunks:
	// with M or more the chunks are whole, with less they are endangered, and when it is
	// negative they are lost.
	Margin int   `msgpack:"margin"`
	Chunks int64 `msgpack:"chunks"`
}

// ScrubStatus is a node's progress in reading back everything that it holds.
type ScrubStatus struct {
	Running bool    `msgpack:"running"`
	Done    float64 `msgpack:"done"`  // progress of this round, 0 to 1
	Ended   int64   `msgpack:"ended"` // when the last complete round ended, Unix ns
	Found   int64   `msgpack:"found"` // damaged chunks found since the program started
}

// SweepStatus is the progress or the result of a generation's sweep at one node.
type SweepStatus struct {
	Generation uint32 `msgpack:"generation"`
	Ended      bool   `msgpack:"ended"`
	Chunks     int64  `msgpack:"chunks"`
	Bytes      int64  `msgpack:"bytes"`
	Freed      int64  `msgpack:"freed"`
	Error      string `msgpack:"error,omitempty"`
}

// GenerationRequest tells a node that a collection begins, on storage.generation.N.
// Its number is larger than all earlier ones.
type GenerationRequest struct {
	Generation uint32 `msgpack:"generation"`
}

// GenerationReply answers a [GenerationRequest] after the node has entered the generation.
type GenerationReply struct {
	Reply
}

// MarkRequest marks chunks as needed, on storage.mark.N.
type MarkRequest struct {
	Generation uint32  `msgpack:"generation"`
	Vault      VaultID `msgpack:"vault"`
	IDs        []byte  `msgpack:"id_arquivo"` // 32 bytes each
}

// MarkReply answers a [MarkRequest]. Both fields have a bit for each id, as in [HaveReply].
type MarkReply struct {
	Reply
	Have []byte `msgpack:"have"` // the node holds some part of the chunk
	// Fresh: the node holds some part, and the chunk had not been marked in this generation.
	Fresh []byte `msgpack:"fresh"`
}

// SweepRequest tells a node that everything needed is marked, on storage.sweep.N. The node
// drops parts that were last put, pinned or marked before the generation Before, and
// compacts segments. It answers at once; a [StatusRequest] reports the progress.
type SweepRequest struct {
	Generation uint32 `msgpack:"generation"`
	Before     uint32 `msgpack:"before"`
	Epoch      uint64 `msgpack:"epoch"` // of the map that chose the nodes to mark chunks at
}

// SweepReply answers a [SweepRequest].
type SweepReply struct {
	Reply
}

// ScrubRequest starts a scrub now, on storage.scrub.N.
type ScrubRequest struct{}

// ScrubReply answers a [ScrubRequest].
type ScrubReply struct {
	Reply
}

// ChunksRequest asks a node which whole chunks of a vault it holds, on storage.chunks.N.
// The answer has those whose ids follow After, in the order of their ids.
type ChunksRequest struct {
	Vault VaultID  `msgpack:"vault"`
	After *ChunkID `msgpack:"after,omitempty"`
}

// ChunkIDsReply answers a [ChunksRequest]. An answer without ids ends the list.
type ChunkIDsReply struct {
	Reply
	IDs []byte `msgpack:"id_arquivo"` // 32 bytes each
}

// VoidRequest tells a node, on storage.void.N, that a part does not open although its checksum is
// right, as only a client with the vault's key can find out.
type VoidRequest struct {
	Vault VaultID `msgpack:"vault"`
	ID    ChunkID `msgpack:"id"`
	Part  Part    `msgpack:"part,omitempty"`
	Sum   Sum     `msgpack:"sum"` // of the part
}

// VoidReply answers a [VoidRequest].
type VoidReply struct {
	Reply
	// Void: the node has the part with that checksum, and does not hold it any more: the next put
	// of the part replaces it. Until then its bytes stay, and are given to those who ask for them.
	Void bool `msgpack:"void"`
}

// CatalogueEntry is one value of one key of the catalogue. Nodes hold the catalogue backup
// as plain chunks of such entries, in the vault [CatalogueVault]. Of several entries for
// one key, the one with the highest revision is valid.
type CatalogueEntry struct {
	Key      string `msgpack:"key"`
	Revision uint64 `msgpack:"revision"`
	Value    []byte `msgpack:"value,omitempty"`
	Deleted  bool   `msgpack:"deleted,omitempty"`
}
