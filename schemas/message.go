package schemas

// ProtocolVersion is the version of the protocol that this program speaks. Registrations
// and session requests carry it. Fields are only ever added, so the version changes only
// when the meaning of an existing field does.
const ProtocolVersion = 1

// Reply is embedded in every answer: the seed's status, and for failures a stable code
// and a sentence. Reason and Values let a program say the sentence in another language.
type Reply struct {
	Status  Status `msgpack:"status"`
	Code    Code   `msgpack:"code,omitempty"`
	Message string `msgpack:"message,omitempty"`

	Reason string            `msgpack:"reason,omitempty"`
	Values map[string]string `msgpack:"values,omitempty"`
}

// OK is the Reply of success.
var OK = Reply{Status: Success}

// Fail is the Reply that carries err. An err without a code gets [Internal].
func Fail(err error) Reply {
	code := CodeOf(err)
	if code == "" {
		code = Internal
	}
	r := Reply{Status: code.Status(), Code: code, Message: err.Error()}
	r.Reason, r.Values = sentenceOf(err)
	return r
}

// Err is the failure that the reply carries, as *[Error], or nil.
func (r *Reply) Err() error {
	switch {
	case r.Status == Success:
		return nil
	case r.Code == "":
		return Errorf(Internal, "the answer has the failure status %d but no code", r.Status)
	}
	return &Error{Code: r.Code, Message: r.Message, Reason: r.Reason, Values: r.Values}
}

// TransmitRequest is the seed's TRANSMITIR, on backup.transmit: a whole small
// file in one message.
type TransmitRequest struct {
	Nickname string `msgpack:"apelido"`
	Record   string `msgpack:"nome_arquivo"`
	// Content is bin or str on the wire. A missing field is an error; an empty one is an
	// empty file.
	Content *[]byte `msgpack:"conteudo_arquivo"`
}

// TransmitReply answers a [TransmitRequest] with the new version's id.
type TransmitReply struct {
	Reply
	ID string `msgpack:"id,omitempty"`
}

// ListRequest is the seed's LISTAR, on backup.list. With a Record it asks for
// that record's versions.
type ListRequest struct {
	Nickname string `msgpack:"apelido"`
	Record   string `msgpack:"nome_arquivo,omitempty"`
	// After continues a list that did not fit one message: the Next of the
	// previous answer.
	After string `msgpack:"after,omitempty"`
	// Forgotten also lists forgotten records and versions.
	Forgotten bool `msgpack:"forgotten,omitempty"`
}

// ListReply answers a [ListRequest]. Names and Records list the same records, sorted by
// name; Versions are sorted newest first.
type ListReply struct {
	Reply
	Names    []string  `msgpack:"list_nome_arquivo"`
	Records  []Record  `msgpack:"records,omitempty"`
	Versions []Version `msgpack:"versions,omitempty"`
	// Next, when not empty, is the After of the request for the rest.
	Next string `msgpack:"next,omitempty"`
	// Fingerprint identifies the key that seals the nickname's vault; empty if there is none.
	Fingerprint []byte `msgpack:"fingerprint,omitempty"`
}

// DownloadRequest is the seed's BAIXAR, on backup.download. ID is a version's
// id as transmit returned it (NAME@NUMBER), or a record's name for its newest version.
type DownloadRequest struct {
	Nickname string `msgpack:"apelido"`
	ID       string `msgpack:"id_arquivo"`
}

// DownloadReply answers a [DownloadRequest]: with the Content if the version is a plain
// small file, otherwise with the Version, whose root the client reads from the nodes of
// Map.
type DownloadReply struct {
	Reply
	Record  string   `msgpack:"nome_arquivo,omitempty"`
	Content *[]byte  `msgpack:"conteudo_arquivo,omitempty"`
	Version *Version `msgpack:"version,omitempty"`
	Map     *NodeMap `msgpack:"map,omitempty"`
	// Fingerprint identifies the key that seals the version; empty if it is plain.
	Fingerprint []byte `msgpack:"fingerprint,omitempty"`
}

// Record is a record's entry in a list.
type Record struct {
	Name     string   `msgpack:"nome_arquivo"`
	Versions uint64   `msgpack:"versions"` // number of versions that are not forgotten
	Latest   uint64   `msgpack:"latest"`   // number of the newest version
	Created  int64    `msgpack:"created"`  // of the newest version, Unix ns
	Files    int64    `msgpack:"files"`    // of the newest version
	Bytes    int64    `msgpack:"bytes"`    // of the newest version, before deduplication
	Source   SourceID `msgpack:"source"`   // the source that the record stands for
	Sealed   bool     `msgpack:"sealed"`
}

// Version is one saved state of a record, as the catalogue keeps it.
type Version struct {
	ID         string     `msgpack:"id"` // NAME@NUMBER
	Nickname   string     `msgpack:"apelido"`
	Record     string     `msgpack:"nome_arquivo"`
	Number     uint64     `msgpack:"number"`
	Created    int64      `msgpack:"created"` // Unix ns, coordinator's clock; later than the version before
	Vault      VaultID    `msgpack:"vault"`
	Root       ChunkID    `msgpack:"root"`
	RootKind   Kind       `msgpack:"root_kind"` // Tree, or Plain for the seed's transmit
	Files      int64      `msgpack:"files"`
	Bytes      int64      `msgpack:"bytes"`  // of content, before deduplication
	Stored     int64      `msgpack:"stored"` // new bytes sent to nodes, replicas counted once
	Durability Durability `msgpack:"durability"`
	Session    string     `msgpack:"session"`
	Source     SourceID   `msgpack:"source"`
	// Epoch is the epoch of a map under which the version survived the loss of any
	// Tolerates nodes; 0 if no such map is known.
	Epoch     uint64 `msgpack:"epoch,omitempty"`
	Tolerates uint8  `msgpack:"tolerates,omitempty"`
	// Losses is how often nodes were known to have lost something when the version began.
	Losses  uint64 `msgpack:"losses,omitempty"`
	Sealed  []byte `msgpack:"sealed,omitempty"`  // host, paths, …; for the key's owner
	Partial bool   `msgpack:"partial,omitempty"` // some files could not be read
	// Degraded: fewer nodes than the durability needs took part. Healing makes the
	// missing replicas or shards later.
	Degraded bool `msgpack:"degraded,omitempty"`
	// Forgotten is when the version was forgotten, Unix ns; 0 if it is not forgotten. A
	// forgotten version can be brought back until it is collected.
	Forgotten int64 `msgpack:"forgotten,omitempty"`
}

// SessionRequest opens a bulk session on backup.session.open.
type SessionRequest struct {
	Protocol int      `msgpack:"protocol"`
	Nickname string   `msgpack:"apelido"`
	Record   string   `msgpack:"nome_arquivo"`
	Source   SourceID `msgpack:"source"`
	// Moved makes Source the record's source from now on.
	Moved bool `msgpack:"moved,omitempty"`
	// Fingerprint (16 bytes) identifies the vault's key, so that two machines with
	// different keys cannot write to one vault.
	Fingerprint []byte `msgpack:"fingerprint"`
	// Recheck asks that nothing of the parent is taken to be held.
	Recheck bool `msgpack:"recheck,omitempty"`
	// System is the id of the system that the client expects, as [NodeMap] has it; empty if it
	// takes any.
	System string `msgpack:"system,omitempty"`
}

// SessionReply answers a [SessionRequest].
type SessionReply struct {
	Reply
	Session    string     `msgpack:"session,omitempty"`
	TTL        int64      `msgpack:"ttl,omitempty"` // ns until the session lapses unless renewed
	Durability Durability `msgpack:"durability"`
	Map        *NodeMap   `msgpack:"map,omitempty"`
	Parent     *Version   `msgpack:"parent,omitempty"` // the record's newest version
	// Recheck says that more nodes are lost or damaged than the parent tolerates: the
	// client must ask the nodes about chunks that it reuses from the parent, as it does
	// about all others.
	Recheck bool `msgpack:"recheck,omitempty"`
	// Token, of an open only, is opaque. A client that sends it with its renewals and its
	// commit can go on after its session has lapsed.
	Token []byte `msgpack:"token,omitempty"`
	// Checkpoint is what an unfinished backup of the record from the same source has sent; of a
	// renewal that has one, it is the same with the time until which it is kept.
	Checkpoint *Checkpoint `msgpack:"checkpoint,omitempty"`
}

// Checkpoint names what an unfinished backup has sent, so that no collection removes it before
// the backup is continued.
type Checkpoint struct {
	// Root is a tree chunk. Its data edges are ids of chunks of any kind, which were sent. Its
	// tree edge, if it has one, leads to another checkpoint chunk, with more of them.
	Root  ChunkID `msgpack:"root"`
	Bytes int64   `msgpack:"bytes"`           // of the messages that carried the chunks
	Until int64   `msgpack:"until,omitempty"` // Unix ns; only a coordinator sets it
}

// RenewRequest keeps a session alive, on backup.session.renew; the answer is a
// [SessionReply] with the current map.
type RenewRequest struct {
	Session string `msgpack:"session"`
	// Token is that of the open. With it a session that has lapsed is opened again.
	Token []byte `msgpack:"token,omitempty"`
	// Checkpoint replaces the record's.
	Checkpoint *Checkpoint `msgpack:"checkpoint,omitempty"`
	// End ends the session, which was not committed and will not be: collections need not wait
	// until it lapses.
	End bool `msgpack:"end,omitempty"`
}

// CommitRequest ends a session, on backup.session.commit. The coordinator accepts it only
// when every chunk of the new part of the tree is held. It may be sent again: a session
// becomes at most one version.
type CommitRequest struct {
	Session string  `msgpack:"session"`
	Root    ChunkID `msgpack:"root"`
	Files   int64   `msgpack:"files"`
	Bytes   int64   `msgpack:"bytes"`
	Stored  int64   `msgpack:"stored"`
	Sealed  []byte  `msgpack:"sealed"`
	Partial bool    `msgpack:"partial,omitempty"`
	// Token is as in a [RenewRequest].
	Token []byte `msgpack:"token,omitempty"`
}

// CommitReply answers a [CommitRequest].
type CommitReply struct {
	Reply
	Version *Version `msgpack:"version,omitempty"`
}

// NodesRequest asks for the node map, on backup.nodes.
type NodesRequest struct{}

// NodesReply answers a [NodesRequest].
type NodesReply struct {
	Reply
	Map *NodeMap `msgpack:"map,omitempty"`
}

// RegisterRequest carries a node's card. A node sends it on storage.register at start and
// whenever the connection or the coordinator comes back, and publishes it as its
// heartbeat, without an answer, on storage.alive. A node that leaves sends the state Down.
//
// Started and Seq order the cards of a node. Messages may be handled in another order than
// they were sent, and an old card must not overwrite a newer one. Cards without Started are
// ordered by their arrival.
type RegisterRequest struct {
	Protocol int  `msgpack:"protocol"`
	Node     Node `msgpack:"node"`
	// Started is the time at which the node's process started, Unix ns. A later process of
	// the node has a higher value.
	Started int64 `msgpack:"started,omitempty"`
	// Seq numbers the cards of one process, from 1.
	Seq uint64 `msgpack:"seq,omitempty"`
	// Run is the random id of this run of the node's folder, and Before are the runs of the
	// folder before it, the oldest first. A folder that does not know the last run that the
	// coordinators know is an older copy. Run is 0 if the node does not say.
	Run    uint64   `msgpack:"run,omitempty"`
	Before []uint64 `msgpack:"before,omitempty"`
	// Position says how far the folder is written. It never falls, unless something is lost.
	Position uint64 `msgpack:"position,omitempty"`
}

// ServingRequest says which process serves a node. Such a process publishes it on storage.serving.N
// from time to time, and answers the question of a process that is about to serve the same node.
type ServingRequest struct {
	// Process is the random id of the process that asks or tells.
	Process string `msgpack:"process"`
	// Since is when the process registered, Unix ns on a clock that is ahead of every process
	// that registered before; 0 in a question, from a process that has not registered.
	Since int64 `msgpack:"since,omitempty"`
	// Host is the name of the process's host, for people.
	Host string `msgpack:"host,omitempty"`
}

// ServingReply answers the question of a [ServingRequest] for the process that serves the node.
type ServingReply struct {
	Reply
	Host    string `msgpack:"host,omitempty"`
	Started int64  `msgpack:"started"` // when the process started, Unix ns
}

// RegisterReply answers a [RegisterRequest] with the map's epoch.
type RegisterReply struct {
	Reply
	Epoch uint64 `msgpack:"epoch"`
	// Heartbeat is the interval, in ns, at which the node publishes its card.
	Heartbeat int64 `msgpack:"heartbeat"`
	// Started is set when the coordinator refuses a card because it knows a newer one of the
	// node: it is the Started of that card. The node then chooses a higher value.
	Started int64 `msgpack:"started,omitempty"`
	// Older says that the node's folder is an older copy of the one that was known last.
	Older bool `msgpack:"older,omitempty"`
}

// PutReply is the answer to a put from each node of the set.
type PutReply struct {
	Reply
	Node NodeID `msgpack:"node"`
	// Window is the number of bytes that this session may have unacknowledged at this
	// node from now on. A session starts with one message.
	Window int64 `msgpack:"window"`
}

// Event is published under [EventSubject] after something has happened.
type Event struct {
	Kind    string `msgpack:"kind"`
	Time    int64  `msgpack:"time"`              // Unix ns
	Subject string `msgpack:"subject"`           // a node id, session or version id
	Text    string `msgpack:"text"`              // a sentence
	Owner   string `msgpack:"apelido,omitempty"` // nickname that the event belongs to
}
