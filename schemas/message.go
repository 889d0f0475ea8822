package schemas

// ProtocolVersion is what this program speaks. It travels in registrations and
// sessions; fields are only ever added, so it changes when an old meaning does.
const ProtocolVersion = 1

// Reply opens every answer: the seed's status, and for failures a stable code
// and a sentence.
type Reply struct {
	Status  Status `msgpack:"status"`
	Code    Code   `msgpack:"code,omitempty"`
	Message string `msgpack:"message,omitempty"`
}

// OK is the Reply of success.
var OK = Reply{Status: Success}

// Fail is the Reply that carries err; an err without a code is [Internal].
func Fail(err error) Reply {
	code := CodeOf(err)
	if code == "" {
		code = Internal
	}
	return Reply{Status: code.Status(), Code: code, Message: err.Error()}
}

// Err is the failure that the reply carries, as *[Error], or nil.
func (r *Reply) Err() error {
	switch {
	case r.Status == Success:
		return nil
	case r.Code == "":
		return Errorf(Internal, "the answer has the status %d and no code", r.Status)
	}
	return &Error{Code: r.Code, Message: r.Message}
}

// TransmitRequest is the seed's TRANSMITIR, on backup.transmit: a whole small
// file in one message.
type TransmitRequest struct {
	Nickname string `msgpack:"apelido"`
	Record   string `msgpack:"nome_arquivo"`
	// Content is bin or str. A missing field is an error, an empty one an
	// empty file.
	Content *[]byte `msgpack:"conteudo_arquivo"`
}

// TransmitReply answers it with the new version's id.
type TransmitReply struct {
	Reply
	ID string `msgpack:"id,omitempty"`
}

// ListRequest is the seed's LISTAR, on backup.list. With a record it asks for
// that record's versions.
type ListRequest struct {
	Nickname string `msgpack:"apelido"`
	Record   string `msgpack:"nome_arquivo,omitempty"`
	// After continues a list that did not fit one message: the Next of the
	// answer before.
	After string `msgpack:"after,omitempty"`
	// Forgotten shows what was forgotten as well.
	Forgotten bool `msgpack:"forgotten,omitempty"`
}

// ListReply answers it. Names and Records are sorted by name and say the same;
// Versions are newest first.
type ListReply struct {
	Reply
	Names    []string  `msgpack:"list_nome_arquivo"`
	Records  []Record  `msgpack:"records,omitempty"`
	Versions []Version `msgpack:"versions,omitempty"`
	// Next, when not empty, is what After must be to get the rest.
	Next string `msgpack:"next,omitempty"`
}

// DownloadRequest is the seed's BAIXAR, on backup.download. ID is a version's
// id as transmit answered it (NAME@NUMBER), or a record's name for its newest.
type DownloadRequest struct {
	Nickname string `msgpack:"apelido"`
	ID       string `msgpack:"id_arquivo"`
}

// DownloadReply answers it: with the content when the version is a plain small
// file; otherwise with where to get it and what to ask the nodes for.
type DownloadReply struct {
	Reply
	Record  string   `msgpack:"nome_arquivo,omitempty"`
	Content *[]byte  `msgpack:"conteudo_arquivo,omitempty"`
	Version *Version `msgpack:"version,omitempty"`
	Map     *NodeMap `msgpack:"map,omitempty"`
}

// Record is what the catalogue says of a record.
type Record struct {
	Name     string   `msgpack:"nome_arquivo"`
	Versions uint64   `msgpack:"versions"` // how many there are that were not forgotten
	Latest   uint64   `msgpack:"latest"`   // number of the newest
	Created  int64    `msgpack:"created"`  // of the newest, Unix ns
	Files    int64    `msgpack:"files"`    // of the newest
	Bytes    int64    `msgpack:"bytes"`    // of the newest, before deduplication
	Source   SourceID `msgpack:"source"`   // what the record stands for
	Sealed   bool     `msgpack:"sealed"`
}

// Version is one saved state of a record, as the catalogue keeps it.
type Version struct {
	ID         string     `msgpack:"id"` // NAME@NUMBER
	Nickname   string     `msgpack:"apelido"`
	Record     string     `msgpack:"nome_arquivo"`
	Number     uint64     `msgpack:"number"`
	Created    int64      `msgpack:"created"` // Unix ns, the coordinator's clock; later than those before it
	Vault      VaultID    `msgpack:"vault"`
	Root       ChunkID    `msgpack:"root"`
	RootKind   Kind       `msgpack:"root_kind"` // Tree, or Plain for the seed's transmit
	Files      int64      `msgpack:"files"`
	Bytes      int64      `msgpack:"bytes"`  // content, before deduplication
	Stored     int64      `msgpack:"stored"` // new bytes that this version sent to nodes, per copy
	Durability Durability `msgpack:"durability"`
	Session    string     `msgpack:"session"`
	Source     SourceID   `msgpack:"source"`
	// Epoch is that of a map under which everything was held by so many nodes that
	// any Tolerates of them could be lost; 0 if none is known.
	Epoch     uint64 `msgpack:"epoch,omitempty"`
	Tolerates uint8  `msgpack:"tolerates,omitempty"`
	Sealed    []byte `msgpack:"sealed,omitempty"`  // host, paths, …: for the key's owner
	Partial   bool   `msgpack:"partial,omitempty"` // some files could not be read
	// Degraded: fewer nodes than the durability needs took part. Healing makes up
	// for it.
	Degraded bool `msgpack:"degraded,omitempty"`
	// Forgotten is when the version was forgotten, Unix ns; 0 if it was not. It can
	// be taken back until the version is collected.
	Forgotten int64 `msgpack:"forgotten,omitempty"`
}

// SessionRequest opens a bulk session on backup.session.open.
type SessionRequest struct {
	Protocol int      `msgpack:"protocol"`
	Nickname string   `msgpack:"apelido"`
	Record   string   `msgpack:"nome_arquivo"`
	Source   SourceID `msgpack:"source"`
	// Moved says that the record's source is a new one from now on.
	Moved bool `msgpack:"moved,omitempty"`
	// Fingerprint tells the vault's key from others (16 bytes), so that two
	// machines with different keys cannot mix one vault.
	Fingerprint []byte `msgpack:"fingerprint"`
}

// SessionReply answers it.
type SessionReply struct {
	Reply
	Session    string     `msgpack:"session,omitempty"`
	TTL        int64      `msgpack:"ttl,omitempty"` // ns until the session lapses unless renewed
	Durability Durability `msgpack:"durability"`
	Map        *NodeMap   `msgpack:"map,omitempty"`
	Parent     *Version   `msgpack:"parent,omitempty"` // the record's newest version
	// Recheck says that more nodes are lost, or damaged, than the parent can do
	// without: what of it is used again must be asked for like anything else.
	Recheck bool `msgpack:"recheck,omitempty"`
}

// RenewRequest keeps a session alive, on backup.session.renew; the answer is a
// [SessionReply] with the current map.
type RenewRequest struct {
	Session string `msgpack:"session"`
}

// CommitRequest ends a session, on backup.session.commit. It is accepted only
// when every chunk of the new part of the tree is held, and it may be sent
// again: a session becomes one version at most.
type CommitRequest struct {
	Session string  `msgpack:"session"`
	Root    ChunkID `msgpack:"root"`
	Files   int64   `msgpack:"files"`
	Bytes   int64   `msgpack:"bytes"`
	Stored  int64   `msgpack:"stored"`
	Sealed  []byte  `msgpack:"sealed"`
	Partial bool    `msgpack:"partial,omitempty"`
}

// CommitReply answers it.
type CommitReply struct {
	Reply
	Version *Version `msgpack:"version,omitempty"`
}

// NodesRequest asks for the node map, on backup.nodes.
type NodesRequest struct{}

// NodesReply answers it.
type NodesReply struct {
	Reply
	Map *NodeMap `msgpack:"map,omitempty"`
}

// RegisterRequest is a node's card: on storage.register at start and whenever
// the connection or the coordinator comes back, and without an answer on
// storage.alive as its heartbeat. A node that leaves says so with the state Down.
//
// Started and Seq order the cards of a node: messages may be handled in another order
// than they were sent, and an old card must not undo a newer one. Cards without Started
// are taken in the order in which they arrive.
type RegisterRequest struct {
	Protocol int  `msgpack:"protocol"`
	Node     Node `msgpack:"node"`
	// Started is when the node's process started, Unix ns. A later process of the node
	// has a higher one.
	Started int64 `msgpack:"started,omitempty"`
	// Seq numbers the cards of one process, from 1.
	Seq uint64 `msgpack:"seq,omitempty"`
}

// RegisterReply answers it with the map's epoch.
type RegisterReply struct {
	Reply
	Epoch uint64 `msgpack:"epoch"`
	// Heartbeat is how often to publish the card, in ns.
	Heartbeat int64 `msgpack:"heartbeat"`
	// Started is set in a refusal: a newer card of the node is known, from a process that
	// started then. The node goes on with a higher number than this one.
	Started int64 `msgpack:"started,omitempty"`
}

// PutReply answers a put, from each node of the set.
type PutReply struct {
	Reply
	Node NodeID `msgpack:"node"`
	// Window is how many bytes this session may have unacknowledged at this
	// node from now on; a session starts with one message.
	Window int64 `msgpack:"window"`
}

// Event is published under [EventSubject] when something has happened.
type Event struct {
	Kind    string `msgpack:"kind"`
	Time    int64  `msgpack:"time"`              // Unix ns
	Subject string `msgpack:"subject"`           // node id, session or version id
	Text    string `msgpack:"text"`              // a sentence
	Owner   string `msgpack:"apelido,omitempty"` // whose
}
