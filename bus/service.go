package bus

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"servidor-backup/schemas"
)

// ServiceConfig describes a service to "nats micro".
type ServiceConfig struct {
	Name        string
	Description string
	// Version should be semantic; any other text is shown as 0.0.0. The whole text is also
	// in the metadata, as "build".
	Version  string
	Metadata map[string]string
	// Workers is the number of requests that are handled at the same time; default 16.
	Workers int
}

// Service is a nats.go/micro service whose typed endpoints share a pool of
// workers. In micro itself an endpoint is one goroutine, in which a slow request would
// delay all others.
type Service struct {
	nc      *nats.Conn
	micro   micro.Service
	ctx     context.Context
	cancel  context.CancelFunc
	queue   *fairQueue
	running sync.WaitGroup

	mu       sync.Mutex
	stopping bool
	failures map[string]*atomic.Int64 // by endpoint
}

const (
	// handlerTimeout ends a request's context. It is as long as it takes to check the
	// edges of a huge version; no caller waits longer.
	handlerTimeout = 10 * time.Minute
	// stopGrace is the time for which Stop lets requests go on before it cancels their
	// contexts.
	stopGrace = 10 * time.Second
)

// NewService announces a service without endpoints.
func NewService(nc *nats.Conn, cfg ServiceConfig) (*Service, error) {
	meta := map[string]string{"build": cfg.Version, "protocol": strconv.Itoa(schemas.ProtocolVersion)}
	for k, v := range cfg.Metadata {
		meta[k] = v
	}
	if cfg.Workers == 0 {
		cfg.Workers = 16
	}
	s := &Service{nc: nc, queue: newFairQueue(cfg.Workers), failures: map[string]*atomic.Int64{}}
	m, err := micro.AddService(nc, micro.Config{
		Name:         cfg.Name,
		Description:  cfg.Description,
		Version:      semantic(cfg.Version),
		Metadata:     meta,
		StatsHandler: s.stats,
	})
	if err != nil {
		return nil, fmt.Errorf("announce the service %s: %w", cfg.Name, err)
	}
	s.micro = m
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// stats is an endpoint's part of "nats micro stats". micro's own error counter stays 0,
// because micro looks at a request before the pool has answered it.
func (s *Service) stats(e *micro.Endpoint) any {
	return map[string]int64{"failures": s.counter(e.Name).Load()}
}

func (s *Service) counter(endpoint string) *atomic.Int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures[endpoint] == nil {
		s.failures[endpoint] = new(atomic.Int64)
	}
	return s.failures[endpoint]
}

// semantic returns the part of v that micro accepts as a version, or 0.0.0.
func semantic(v string) string {
	v = strings.TrimPrefix(v, "v")
	core, _, _ := strings.Cut(v, "-")
	core, _, _ = strings.Cut(core, "+")
	if parts := strings.Split(core, "."); len(parts) == 3 {
		for _, p := range parts {
			if _, err := strconv.ParseUint(p, 10, 32); err != nil {
				return "0.0.0"
			}
		}
		return core
	}
	return "0.0.0"
}

// Handle adds an endpoint. Each request is decoded into a new Req and answered
// with the value that h returns. An error becomes a [schemas.Reply] with its status, and
// micro's error headers. All services with the same name share the requests.
func Handle[Req any](s *Service, name, subject string, h func(context.Context, *Req) (any, error)) error {
	return s.HandleBytes(name, subject, func(ctx context.Context, b, _ []byte) ([]byte, error) {
		req := new(Req)
		if err := schemas.Unmarshal(b, req); err != nil {
			return nil, err
		}
		rep, err := h(ctx, req)
		if err != nil {
			return nil, err
		}
		return schemas.Marshal(rep)
	})
}

// HandleBytes is [Handle] for messages that are encoded by hand. h gets the request and an
// empty buffer, to which it may append its answer. The service takes ownership of the
// slice that h returns and reuses it as a buffer after the answer is sent.
func (s *Service) HandleBytes(name, subject string, h func(ctx context.Context, req, buf []byte) ([]byte, error)) error {
	return s.HandleStream(name, subject, true, 0, func(m *Message) {
		s.running.Add(1)
		s.queue.submit(inboxOf(m.reply), len(m.Data), func() {
			defer s.running.Done()
			if s.isStopping() { // a request that was still queued has not been answered
				m.refuse(schemas.Explain(schemas.Unavailable, "service-stops", "the service at {subject} is stopping: ask again", "subject", subject))
				return
			}
			ctx, cancel := context.WithTimeout(s.ctx, handlerTimeout)
			defer cancel()
			buf := replyBuffers.Get().(*[]byte)
			defer replyBuffers.Put(buf)
			rep, err := h(ctx, m.Data, (*buf)[:0])
			if err != nil {
				m.refuse(err)
				return
			}
			m.respond(rep, nil) // it copies rep
			if cap(rep) > cap(*buf) {
				*buf = rep
			}
		})
	})
}

// replyBuffers holds buffers whose answers have been sent.
var replyBuffers = sync.Pool{New: func() any { return new([]byte) }}

// Message is a request that [Service.HandleStream] has received. It must be answered
// once, from any goroutine. The receiver owns Data.
type Message struct {
	Data     []byte
	s        *Service
	reply    string
	failures *atomic.Int64
}

// HandleStream adds an endpoint that calls h for one message after the other; h may answer
// a message later. If shared is false, every service with the name receives every message.
// pending bounds the messages that wait for h, in bytes; 0 means the default of nats.go,
// 64 MiB. After Stop, h is not called any more.
func (s *Service) HandleStream(name, subject string, shared bool, pending int, h func(*Message)) error {
	options := []micro.EndpointOpt{micro.WithEndpointSubject(subject)}
	if !shared {
		options = append(options, micro.WithEndpointQueueGroupDisabled())
	}
	if pending > 0 {
		options = append(options, micro.WithEndpointPendingLimits(-1, pending))
	}
	failures := s.counter(name)
	handler := micro.HandlerFunc(func(r micro.Request) {
		m := &Message{Data: r.Data(), s: s, reply: r.Reply(), failures: failures}
		if !s.countIn() {
			m.refuse(schemas.Explain(schemas.Unavailable, "service-stops", "the service at {subject} is stopping: ask again", "subject", subject))
			return
		}
		defer s.running.Done()
		h(m)
	})
	if err := s.micro.AddEndpoint(name, handler, options...); err != nil {
		return fmt.Errorf("serve %s: %w", subject, err)
	}
	return nil
}

// Ready waits until the server knows all endpoints: requests that are sent from then on
// reach the service.
func (s *Service) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout) // the library requires a deadline
	defer cancel()
	if err := s.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("wait until the server knows the endpoints: %w", err)
	}
	return nil
}

// countIn counts one more running request. It returns false once the service is stopping.
func (s *Service) countIn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.running.Add(1)
	}
	return !s.stopping
}

func (s *Service) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// Answer answers m with rep. If err is not nil, rep must carry it; Answer also puts it into
// micro's headers and counts it in the service's stats.
func (m *Message) Answer(rep any, err error) {
	b, merr := schemas.Marshal(rep)
	if merr != nil {
		b, err = nil, merr
	}
	m.respond(b, err)
}

func (m *Message) refuse(err error) {
	rep := schemas.Fail(err)
	m.Answer(&rep, err)
}

// respond does not use micro's own methods because they write into the request, which
// micro reads as soon as the handler has returned.
func (m *Message) respond(b []byte, err error) {
	answer := &nats.Msg{Subject: m.reply, Data: b}
	if err != nil {
		m.failures.Add(1)
		failure := schemas.Fail(err)
		answer.Header = nats.Header{
			micro.ErrorCodeHeader: {strconv.Itoa(int(failure.Status))},
			micro.ErrorHeader:     {string(failure.Code) + ": " + oneLine(failure.Message)},
		}
	}
	_ = m.s.nc.PublishMsg(answer) // a caller that has left is not the service's failure
}

// oneLine replaces control characters by spaces, so that text fits a header.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}

// Stop ends the service. New requests are refused. Stop waits for running requests, and
// cancels their contexts after a grace period.
func (s *Service) Stop() error {
	err := s.micro.Stop()
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	grace := time.AfterFunc(stopGrace, s.cancel)
	defer grace.Stop()
	s.running.Wait()
	s.cancel()
	return err
}
