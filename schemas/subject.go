package schemas

import "strings"

// All subjects of the system. No other file builds or parses one.
const (
	SubjectTransmit      = "backup.transmit"
	SubjectList          = "backup.list"
	SubjectDownload      = "backup.download"
	SubjectNodes         = "backup.nodes"
	SubjectSessionOpen   = "backup.session.open"
	SubjectSessionRenew  = "backup.session.renew"
	SubjectSessionCommit = "backup.session.commit"
	SubjectRegister      = "storage.register"

	SubjectPolicy    = "backup.policy"
	SubjectNodeState = "backup.node.state"
	SubjectForget    = "backup.forget"
	SubjectDoubt     = "backup.doubt"
	SubjectNicknames = "backup.nicknames"
	SubjectCollect   = "backup.gc"
	SubjectRebuild   = "backup.rebuild"
	SubjectStatus    = "backup.status"
	// SubjectMap is where the coordinators publish the node map, as a
	// [NodesReply], whenever it has changed.
	SubjectMap = "backup.event.map"
	// SubjectCoordinator is where a coordinator announces that it has started;
	// nodes then register again.
	SubjectCoordinator = "backup.event.coordinator.started"

	eventPrefix = "backup.event."
	putPrefix   = "storage.put"
	havePrefix  = "storage.have."
	getPrefix   = "storage.get."
	edgesPrefix = "storage.edges."

	generationPrefix = "storage.generation."
	markPrefix       = "storage.mark."
	sweepPrefix      = "storage.sweep."
	statusPrefix     = "storage.status."
	scrubPrefix      = "storage.scrub."
	chunksPrefix     = "storage.chunks."
	voidPrefix       = "storage.void."
	servingPrefix    = "storage.serving."
)

// MaxSet is the largest number of nodes that a put's subject can name.
const MaxSet = 4

// Kinds of events. An event's subject is backup.event.KIND.
const (
	EventCoordinatorStarted = "coordinator.started"
	EventNodeRegistered     = "node.registered"
	EventNodeDown           = "node.down"
	EventSessionOpened      = "session.opened"
	EventVersionCommitted   = "version.committed"
	EventNodeGone           = "node.gone"
	EventNodeOlder          = "node.older"
	EventNodeState          = "node.state"
	EventPolicyChanged      = "policy.changed"
	EventVersionForgotten   = "version.forgotten"
	EventCollected          = "gc.done"
	EventHealed             = "heal.done"
	EventDamageFound        = "damage.found"
	EventCatalogueRebuilt   = "catalogue.rebuilt"
)

// EventSubject is where events of a kind are published.
func EventSubject(kind string) string { return eventPrefix + kind }

// PutSubject names a replica set: storage.put.A.B. A message that is published there once
// reaches every node of the set.
func PutSubject(set []NodeID) string {
	var b strings.Builder
	b.WriteString(putPrefix)
	for _, n := range set {
		b.WriteByte('.')
		b.WriteString(string(n))
	}
	return b.String()
}

// PutSubscriptions returns subjects that together match every put whose set contains n, at
// any of [MaxSet] positions, each put exactly once.
func PutSubscriptions(n NodeID) []string {
	subjects := make([]string, 0, 2*MaxSet)
	before := putPrefix
	for position := range MaxSet {
		subject := before + "." + string(n)
		subjects = append(subjects, subject)
		if position < MaxSet-1 {
			subjects = append(subjects, subject+".>")
		}
		before += ".*"
	}
	return subjects
}

// HaveSubject is where node n is asked which chunks it holds.
func HaveSubject(n NodeID) string { return havePrefix + string(n) }

// GetSubject is where node n is asked for chunks.
func GetSubject(n NodeID) string { return getPrefix + string(n) }

// EdgesSubject is where node n is asked for the clear edges of chunks.
func EdgesSubject(n NodeID) string { return edgesPrefix + string(n) }

// SubjectAlive is where nodes publish their cards every few seconds, as heartbeats for all
// coordinators.
const SubjectAlive = "storage.alive"

// GenerationSubject is where node n is told that a collection begins.
func GenerationSubject(n NodeID) string { return generationPrefix + string(n) }

// MarkSubject is where node n is told which chunks are needed.
func MarkSubject(n NodeID) string { return markPrefix + string(n) }

// SweepSubject is where node n is told that everything needed has been marked.
func SweepSubject(n NodeID) string { return sweepPrefix + string(n) }

// StatusSubject is where node n is asked for its status.
func StatusSubject(n NodeID) string { return statusPrefix + string(n) }

// ScrubSubject is where node n is asked to start a scrub.
func ScrubSubject(n NodeID) string { return scrubPrefix + string(n) }

// ChunksSubject is where node n is asked which whole chunks of a vault it holds.
func ChunksSubject(n NodeID) string { return chunksPrefix + string(n) }

// VoidSubject is where node n is told that a part that it holds does not open.
func VoidSubject(n NodeID) string { return voidPrefix + string(n) }

// ServingSubject is where processes that serve node n, of which there should be one, tell each
// other of it.
func ServingSubject(n NodeID) string { return servingPrefix + string(n) }
