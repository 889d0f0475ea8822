package schemas

import (
	"errors"
	"fmt"
)

// Status is the seed's answer code, in every reply.
type Status uint16

const (
	// Success: the request was carried out.
	Success Status = 255
	// CoordinatorError: the coordinator failed or refused.
	CoordinatorError Status = 158
	// StorageError: a storage node could not store or read.
	StorageError Status = 906
)

// Code is a stable word for the kind of failure. Programs decide by the code; people read
// the sentence beside it.
type Code string

// Codes that come with [CoordinatorError].
const (
	BadRequest      Code = "bad-request"      // not msgpack, a field is missing or of the wrong type
	BadName         Code = "bad-name"         // a nickname or record name that is not allowed
	TooLarge        Code = "too-large"        // does not fit one message
	NoNode          Code = "no-node"          // no storage node takes data
	UnknownNickname Code = "unknown-nickname" // nothing was ever saved under the nickname
	UnknownRecord   Code = "unknown-record"   // the nickname has no such record
	UnknownVersion  Code = "unknown-version"  // the record has no such version
	UnknownSession  Code = "unknown-session"  // the session ended, lapsed or was never opened
	NameTaken       Code = "name-taken"       // the record stands for another source
	OtherKey        Code = "other-key"        // the vault was made with another key
	OtherSystem     Code = "other-system"     // the client expects another system
	Incomplete      Code = "incomplete"       // a commit names chunks of which too few parts are held to read them
	Unavailable     Code = "unavailable"      // the catalogue or a node did not answer in time
	TooNew          Code = "too-new"          // the sender speaks a newer protocol than this program
	UnknownNode     Code = "unknown-node"     // no storage node has that name
	CatalogueLost   Code = "catalogue-lost"   // storage nodes have copies of a catalogue that knows more than this one
	NotNow          Code = "not-now"          // the present state does not allow it; the sentence says why
	Internal        Code = "internal"         // a bug or a broken catalogue entry
)

// Codes that come with [StorageError].
const (
	BadChunk   Code = "bad-chunk"   // malformed, or its bytes do not match its checksum
	DiskFull   Code = "disk-full"   // the node refuses puts until its disk has free capacity again
	DiskFailed Code = "disk-failed" // a write or sync failed; puts are refused until restart
	Corrupt    Code = "corrupt"     // the bytes on disk do not match their checksum
	NotHeld    Code = "not-held"    // the node does not have the chunk
	NodeClosed Code = "node-closed" // the node is shutting down
	OtherEpoch Code = "other-epoch" // the node follows another map than the sender of the request
	TooEarly   Code = "too-early"   // the node cannot know the pins and marks of that generation
)

// Status is the seed's status under which the code travels.
func (c Code) Status() Status {
	switch c {
	case "":
		return Success
	case BadChunk, DiskFull, DiskFailed, Corrupt, NotHeld, NodeClosed, OtherEpoch, TooEarly:
		return StorageError
	}
	return CoordinatorError
}

// Error is a failure as messages carry it: a stable code and a sentence that says what
// happened, to what, and what to do now.
type Error struct {
	Code    Code
	Message string
	// Reason and Values are those of the [Sentence] in Message; empty if there is only Message.
	Reason string
	Values map[string]string

	kind error // may be nil
}

// Errorf returns an *[Error] with a formatted sentence.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Message }

// Is makes errors.Is(err, &Error{Code: c}) true for every error with that code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Message == "" || t.Message == e.Message)
}

// CodeOf is the code of the first *Error in err's chain, or "" if there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
