package schemas

import "strings"

// Every subject of the system is built here, and parsed here.
const (
	SubjectTransmit      = "backup.transmit"
	SubjectList          = "backup.list"
	SubjectDownload      = "backup.download"
	SubjectNodes         = "backup.nodes"
	SubjectSessionOpen   = "backup.session.open"
	SubjectSessionRenew  = "backup.session.renew"
	SubjectSessionCommit = "backup.session.commit"
	SubjectRegister      = "storage.register"
	// SubjectCoordinator is where a coordinator that has just come up says so;
	// nodes then register again.
	SubjectCoordinator = "backup.event.coordinator.started"

	eventPrefix = "backup.event."
	putPrefix   = "storage.put"
	havePrefix  = "storage.have."
	getPrefix   = "storage.get."
	edgesPrefix = "storage.edges."
)

// MaxSet is the largest replica set that a put's subject can name.
const MaxSet = 4

// Kinds of event; the subject is backup.event.KIND.
const (
	EventCoordinatorStarted = "coordinator.started"
	EventNodeRegistered     = "node.registered"
	EventNodeDown           = "node.down"
	EventSessionOpened      = "session.opened"
	EventVersionCommitted   = "version.committed"
)

// EventSubject is where events of a kind are published.
func EventSubject(kind string) string { return eventPrefix + kind }

// PutSubject names a replica set: storage.put.A.B. Every node of it receives
// the message that is published once.
func PutSubject(set []NodeID) string {
	var b strings.Builder
	b.WriteString(putPrefix)
	for _, n := range set {
		b.WriteByte('.')
		b.WriteString(string(n))
	}
	return b.String()
}

// PutSubscriptions are the subjects that together match every put whose set has
// n in it, in any of [MaxSet] places, each exactly once.
func PutSubscriptions(n NodeID) []string {
	subjects := make([]string, 0, 2*MaxSet)
	before := putPrefix
	for place := range MaxSet {
		at := before + "." + string(n)
		subjects = append(subjects, at)
		if place < MaxSet-1 {
			subjects = append(subjects, at+".>")
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

// SubjectAlive is where nodes publish their cards every few seconds, for all
// coordinators to hear.
const SubjectAlive = "storage.alive"
