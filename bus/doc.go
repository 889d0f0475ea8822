// Package bus is the floor that knows NATS. Everything that the system says to
// itself goes through here:
//
//   - server.go: the embedded NATS server with JetStream, synced on every write;
//   - cluster.go: several of them as one;
//   - conn.go: connections that say what they wait for, and never wait silently;
//   - request.go: typed request and reply, with failures as *schemas.Error;
//   - service.go: endpoints of nats.go/micro services, with a pool behind them;
//   - window.go: bulk transfer under the receiver's flow control;
//   - resend.go: what that does about messages, nodes and connections that are lost;
//   - holders.go: finding and fetching chunks, wherever they are;
//   - catalogue.go: what is kept in JetStream key-value buckets, under CAS;
//   - patience.go: what these do while servers come and go;
//   - watch.go: lists and changes of buckets.
//
// It imports schemas and no role.
package bus
