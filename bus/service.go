package bus

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"servidor-backup/schemas"
)

// ServiceConfig describes a service to "nats micro".
type ServiceConfig struct {
	Name        string
	Description string
	Version     string // must be semantic; anything else is shown as 0.0.0 with the text in the metadata
	Metadata    map[string]string
	// Workers is how many requests are handled at the same time; default 16.
	Workers int
}

// Service is a nats.go/micro service whose typed endpoints share a pool of
// workers: an endpoint of micro is one goroutine, and one slow request must not
// hold up the others.
type Service struct {
	micro  micro.Service
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}
	work   sync.WaitGroup
}

// handlerTimeout ends a request's context: no caller waits longer.
const handlerTimeout = 5 * time.Minute

// NewService announces a service without endpoints.
func NewService(nc *nats.Conn, cfg ServiceConfig) (*Service, error) {
	meta := map[string]string{"build": cfg.Version, "protocol": strconv.Itoa(schemas.ProtocolVersion)}
	for k, v := range cfg.Metadata {
		meta[k] = v
	}
	m, err := micro.AddService(nc, micro.Config{
		Name:        cfg.Name,
		Description: cfg.Description,
		Version:     semantic(cfg.Version),
		Metadata:    meta,
	})
	if err != nil {
		return nil, fmt.Errorf("announce the service %s: %w", cfg.Name, err)
	}
	if cfg.Workers == 0 {
		cfg.Workers = 16
	}
	s := &Service{micro: m, slots: make(chan struct{}, cfg.Workers)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// semantic keeps the part of v that micro accepts as a version.
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
// with what h returns; an error becomes a [schemas.Reply] with its status, and
// micro's error headers. All services of one name share the requests.
func Handle[Req any](s *Service, name, subject string, h func(context.Context, *Req) (any, error)) error {
	return s.endpoint(name, subject, func(ctx context.Context, m micro.Request) ([]byte, error) {
		req := new(Req)
		if err := schemas.Unmarshal(m.Data(), req); err != nil {
			return nil, err
		}
		rep, err := h(ctx, req)
		if err != nil {
			return nil, err
		}
		return schemas.Marshal(rep)
	})
}

// HandleBytes is [Handle] for messages that are encoded by hand.
func (s *Service) HandleBytes(name, subject string, h func(context.Context, []byte) ([]byte, error)) error {
	return s.endpoint(name, subject, func(ctx context.Context, m micro.Request) ([]byte, error) {
		return h(ctx, m.Data())
	})
}

func (s *Service) endpoint(name, subject string, h func(context.Context, micro.Request) ([]byte, error)) error {
	return s.HandleStream(name, subject, true, 0, func(m micro.Request) {
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		s.work.Go(func() {
			defer func() { <-s.slots }()
			ctx, cancel := context.WithTimeout(s.ctx, handlerTimeout)
			defer cancel()
			rep, err := h(ctx, m)
			if err != nil {
				failure := schemas.Fail(err)
				Respond(m, &failure, err)
				return
			}
			_ = m.Respond(rep) // a caller that is gone is no one's failure
		})
	})
}

// HandleStream adds an endpoint whose messages are handed to h one after the
// other, to be answered whenever h likes, from any goroutine. Without shared,
// every service of the name receives every message. pending bounds what waits
// for h, in bytes; 0 is the default of nats.go, 64 MiB.
func (s *Service) HandleStream(name, subject string, shared bool, pending int, h func(micro.Request)) error {
	options := []micro.EndpointOpt{micro.WithEndpointSubject(subject)}
	if !shared {
		options = append(options, micro.WithEndpointQueueGroupDisabled())
	}
	if pending > 0 {
		options = append(options, micro.WithEndpointPendingLimits(-1, pending))
	}
	if err := s.micro.AddEndpoint(name, micro.HandlerFunc(h), options...); err != nil {
		return fmt.Errorf("serve %s: %w", subject, err)
	}
	return nil
}

// Respond answers m with rep; a failure err, which rep must carry, is also told
// in micro's headers, so that "nats micro stats" counts it.
func Respond(m micro.Request, rep any, err error) {
	b, merr := schemas.Marshal(rep)
	if merr != nil {
		b, err = nil, merr
	}
	if err == nil {
		_ = m.Respond(b)
		return
	}
	failure := schemas.Fail(err)
	oneLine := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, failure.Message)
	_ = m.Error(strconv.Itoa(int(failure.Status)), string(failure.Code)+": "+oneLine, b)
}

// Stop ends the service: no new requests, those under way are waited for.
func (s *Service) Stop() error {
	err := s.micro.Stop()
	s.cancel()
	s.work.Wait()
	return err
}
