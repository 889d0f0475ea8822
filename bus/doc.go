// Package bus connects the roles of the system over NATS: connections that report what
// they wait for, typed request and reply, and services.
//
// The packages beside it, of which only bus/replica and bus/bustest import it:
//
//   - bus/embedded runs a NATS server within the process. It is the only package that
//     imports nats-server, so a program that only connects does not carry a server.
//   - bus/kv keeps values in JetStream key-value buckets, under compare-and-set.
//   - bus/replica writes chunks to the nodes of a replica set and reads them back,
//     under the receivers' flow control.
//   - bus/bustest gives tests real servers.
//
// # Invariants
//
// A connection reconnects by itself until it is closed, and reports through its Status
// function what it waits for. A request whose context has no deadline ends after
// [RequestTimeout]. A service runs a bounded number of requests at the same time, and its
// clients take turns. A failure travels as a [schemas.Error] with a stable code.
package bus
