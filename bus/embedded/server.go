package embedded

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nats-server/v2/server"
)

// ErrInUse is returned by [Start] when another process has locked the directory.
var ErrInUse = errors.New("the directory is in use by another process")

// Options are the options of [Start].
type Options struct {
	// Dir is JetStream's directory. Start makes it if needed.
	Dir string
	// Listen is HOST:PORT; port 0 chooses a free port. Empty means no listener:
	// only connections of this process (see [Server.InProcessConn]) reach the server.
	Listen string
	// Cluster makes the server a member of a cluster; nil means a lone server.
	Cluster *Cluster
	// Log receives the server's warnings and errors; nil discards them.
	Log *slog.Logger
	// Failed is called at most once, with ErrFailed, when a lone server cannot write its data
	// any more, until it is started again. It must not call Shutdown. It may be nil. In a cluster
	// the other servers go on, and it is not called.
	Failed func(error)
}

// Server is an embedded NATS server with JetStream. Everything that JetStream
// acknowledges has been synced to disk.
type Server struct {
	ns        *server.Server
	dir       string
	lock      io.Closer
	clustered bool
	expected  int // number of servers in the cluster, according to the routes
	unwatch   func()
	released  func() // waits for the end of release
}

// startTimeout bounds the recovery of JetStream's state, which is small: it has the
// catalogue, but no chunks.
const startTimeout = 60 * time.Second

// Start locks the directory, starts a server and returns when it accepts connections. If a
// stream in the directory cannot be read or recovered, Start fails with an error that names
// the file, and everything in the directory is as it was.
func Start(opt Options) (*Server, error) {
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the server's directory: %w", err)
	}
	// JetStream takes no lock of its own, and two servers on one directory would destroy
	// its data.
	lock, err := vfs.Default.Lock(filepath.Join(opt.Dir, "LOCK"))
	var pathErr *fs.PathError
	switch {
	case errors.As(err, &pathErr): // the lock file could not be made or opened
		return nil, fmt.Errorf("lock %s: %w", opt.Dir, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w (%v)", opt.Dir, ErrInUse, err)
	}
	o, err := natsOptions(opt)
	var ns *server.Server
	var released func()
	errorLogged := make(chan struct{}, 1)
	if err == nil {
		ns, released, err = startOn(opt.Dir, o, &serverLog{log: opt.Log, errorLogged: errorLogged})
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &Server{ns: ns, dir: opt.Dir, lock: lock, clustered: opt.Cluster != nil, expected: len(o.Routes), unwatch: func() {}, released: released}
	if opt.Failed != nil && opt.Cluster == nil {
		stop := make(chan struct{})
		var watcher sync.WaitGroup
		watcher.Go(func() { watch(ns, errorLogged, stop, opt.Failed) })
		s.unwatch = func() {
			close(stop)
			watcher.Wait()
		}
	}
	return s, nil
}

// startOn starts a server that recovers all streams in dir; see guard for the order, and release
// for the function.
func startOn(dir string, o *server.Options, log *serverLog) (*server.Server, func(), error) {
	if err := bringBack(dir); err != nil {
		return nil, nil, fmt.Errorf("bring back the streams' files: %w", err)
	}
	known, err := readRecord(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	streams, err := inspect(dir, known)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if err := guard(dir, streams); err != nil {
		return nil, nil, errors.Join(err, dropSecondNames(dir))
	}
	ns, err := startNATS(o, log, streams)
	if err != nil {
		return nil, nil, errors.Join(err, bringBack(dir))
	}
	released, err := release(dir)
	if err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, nil, err
	}
	return ns, released, nil
}

func natsOptions(opt Options) (*server.Options, error) {
	name, err := nameOfServer(opt.Dir, opt.Cluster != nil)
	if err != nil {
		return nil, err
	}
	o := &server.Options{
		ServerName: name,
		DontListen: opt.Listen == "",
		NoSigs:     true, // the program handles signals
		NoLog:      opt.Log == nil,
		JetStream:  true,
		StoreDir:   opt.Dir,
		SyncAlways: true, // nothing is acknowledged before it is on stable storage
	}
	if opt.Listen != "" {
		host, port, err := splitListen(opt.Listen)
		if err != nil {
			return nil, err
		}
		o.Host, o.Port = host, port
	}
	if opt.Cluster != nil {
		if err := opt.Cluster.apply(o); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func startNATS(o *server.Options, log *serverLog, streams []stream) (*server.Server, error) {
	ns, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("prepare the NATS server: %w", err)
	}
	log.said.starting = true
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	for deadline := time.Now().Add(startTimeout); ; {
		if ns.ReadyForConnections(50 * time.Millisecond) {
			warned := log.said.end()
			err := checkRecovered(ns, streams)
			if err == nil {
				return ns, nil
			}
			ns.Shutdown()
			ns.WaitForShutdown()
			return nil, recoveryError(err, warned)
		}
		if text := log.fatal.Load(); text != nil || time.Now().After(deadline) {
			ns.Shutdown()
			ns.WaitForShutdown()
			if text == nil {
				return nil, fmt.Errorf("the NATS server was not ready after %v", startTimeout)
			}
			return nil, fmt.Errorf("the NATS server does not start: %s", *text)
		}
	}
}

// splitListen splits HOST:PORT, and replaces port 0 by a free one. It also tries to listen
// on the address, because the NATS server would report a taken address only as a fatal
// line of its log.
func splitListen(listen string) (host string, port int, err error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", 0, fmt.Errorf("cannot listen on %s: %w", listen, err)
	}
	defer l.Close()
	host, _, err = net.SplitHostPort(listen)
	if err != nil {
		return "", 0, err
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok { // the system has refused the question
		return "", 0, fmt.Errorf("cannot listen on %s: the system does not tell the port", listen)
	}
	return host, addr.Port, nil
}

// URL is the address for clients: nats://HOST:PORT, or "" without a listener.
func (s *Server) URL() string {
	addr, ok := s.ns.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// InProcessConn connects to the server within the process, without a socket. It makes a
// Server a value for InProcess of bus.ConnOptions.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

// Shutdown ends the server with its connections, notes where its streams end, and unlocks the
// directory.
func (s *Server) Shutdown() error {
	s.unwatch()
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	s.released()
	return errors.Join(s.rememberEnd(), s.lock.Close())
}
