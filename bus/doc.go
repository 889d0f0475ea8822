// Package bus connects the roles of the system over NATS: connections that say what
// they wait for, typed request and reply, and services.
//
// Beside it are packages for what the roles do with the bus:
//
//   - bus/embedded runs a NATS server within the process. It is the only package that
//     imports nats-server, so a program that only connects does not carry a server.
//   - bus/kv keeps values in JetStream key-value buckets, under compare-and-set.
//   - bus/replica writes chunks to the nodes of a replica set and reads them back,
//     under the receiver's flow control.
//   - bus/bustest gives tests real servers.
//
// # Invariants
//
// A connection comes back by itself for as long as it is not closed, and says through its
// Status function what it waits for. A request without a deadline ends after
// [RequestTimeout]. A service handles a bounded number of requests side by side, and those
// who ask take turns. A failure travels as a [schemas.Error] with a stable code.
package bus
