package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

func newService(t *testing.T, nc *nats.Conn, cfg bus.ServiceConfig) *bus.Service {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "test-service"
	}
	s, err := bus.NewService(nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func handle(t *testing.T, s *bus.Service, subject string, h func(context.Context, *schemas.ListRequest) (any, error)) {
	t.Helper()
	if err := bus.Handle(s, "list", subject, h); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(bustest.Context(t)); err != nil {
		t.Fatal(err)
	}
}

// Request distinguishes a role that is not running, a failure with a code, one without, a
// missing answer, and a malformed answer.
func TestRequestDistinguishesFailures(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	s := newService(t, nc, bus.ServiceConfig{})
	handle(t, s, "t.coded", func(context.Context, *schemas.ListRequest) (any, error) {
		return nil, fmt.Errorf("while listing: %w", schemas.Errorf(schemas.UnknownNickname, "no ana"))
	})
	if err := bus.Handle(s, "plain", "t.plain", func(context.Context, *schemas.ListRequest) (any, error) {
		return nil, errors.New("broken\nin two lines")
	}); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"t.unresponsive", "t.garbage"} {
		sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
			if m.Subject == "t.garbage" {
				_ = m.Respond([]byte("\xc1"))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsubscribe()
	}
	within := func(timeout time.Duration, subject string) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		return bus.Request(ctx, nc, subject, &schemas.ListRequest{}, &schemas.ListReply{})
	}
	ask := func(subject string) error { return within(bustest.Timeout, subject) }
	bustest.WantIs(t, ask("t.nobody"), bus.ErrNoResponders)
	bustest.WantIs(t, within(200*time.Millisecond, "t.unresponsive"), context.DeadlineExceeded)
	bustest.WantCode(t, ask("t.garbage"), schemas.BadRequest)
	bustest.WantCode(t, ask("t.plain"), schemas.Internal)
	err := ask("t.coded")
	bustest.WantCode(t, err, schemas.UnknownNickname)
	if err.Error() != "while listing: no ana" {
		t.Errorf("the failure's sentence is %q", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	bustest.WantIs(t, bus.Request(cancelled, nc, "t.unresponsive", &schemas.ListRequest{}, &schemas.ListReply{}), context.Canceled)
}

// The answer to a malformed message is 158 bad-request, in the payload for our
// clients and in micro's headers for "nats req".
func TestServiceRefusesMalformedMessages(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	handle(t, newService(t, nc, bus.ServiceConfig{}), "t.list", func(context.Context, *schemas.ListRequest) (any, error) {
		return &schemas.ListReply{Reply: schemas.OK}, nil
	})
	for name, message := range map[string]string{
		"empty": "", "text": "hello", "not a map": "\x93\x01\x02\x03", "truncated": "\x81\xa7apel",
		"wrong type": "\x81\xa7apelido\x05", "trailing": "\x80\x80", "invalid byte": "\x81\xa7apelido\xc1",
		"too deep": "\x81\xa1a" + strings.Repeat("\x91", 200) + "\x01", "a length beyond the end": "\x81\xa7apelido\xdb\xff\xff\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			m, err := nc.RequestWithContext(bustest.Context(t), "t.list", []byte(message))
			if err != nil {
				t.Fatal(err)
			}
			var rep schemas.Reply
			if err := schemas.Unmarshal(m.Data, &rep); err != nil {
				t.Fatal(err)
			}
			if rep.Status != 158 || rep.Code != schemas.BadRequest || rep.Message == "" {
				t.Errorf("the answer is %+v", rep)
			}
			if code := m.Header.Get(micro.ErrorCodeHeader); code != "158" {
				t.Errorf("the header's code is %q", code)
			}
			if text := m.Header.Get(micro.ErrorHeader); !strings.HasPrefix(text, "bad-request: ") {
				t.Errorf("the header's text is %q", text)
			}
		})
	}
}

// "nats micro" shows a service's version and metadata, and counts its failures.
func TestServiceIsVisibleToMicro(t *testing.T) {
	for version, want := range map[string]string{"v1.2.3-rc1": "1.2.3", "1.2.3+x": "1.2.3", "devel": "0.0.0", "": "0.0.0", "1.2.x": "0.0.0"} {
		t.Run(version, func(t *testing.T) {
			nc := bustest.Connect(t, bustest.Server(t))
			handle(t, newService(t, nc, bus.ServiceConfig{Version: version, Metadata: map[string]string{"zone": "a"}}), "t.list",
				func(_ context.Context, req *schemas.ListRequest) (any, error) {
					return &schemas.ListReply{Reply: schemas.OK}, schemas.CheckNickname(req.Nickname)
				})
			for _, nickname := range []string{"ana", "", ""} {
				_ = bus.Request(bustest.Context(t), nc, "t.list", &schemas.ListRequest{Nickname: nickname}, &schemas.ListReply{})
			}
			// micro counts a request when its handler has returned, which may be
			// after the answer has arrived.
			var stats micro.Stats
			bustest.Eventually(t, "three requests are counted", func() bool {
				stats = microStats(t, nc, "test-service")
				return len(stats.Endpoints) == 1 && stats.Endpoints[0].NumRequests >= 3
			})
			if stats.Version != want || stats.Metadata["build"] != version || stats.Metadata["zone"] != "a" {
				t.Fatalf("the stats are %+v", stats)
			}
			var own struct{ Failures int }
			if err := json.Unmarshal(stats.Endpoints[0].Data, &own); err != nil || own.Failures != 2 || stats.Endpoints[0].NumRequests != 3 {
				t.Errorf("the stats count %d requests and %+v, want 3 and 2 failures (%v)", stats.Endpoints[0].NumRequests, own, err)
			}
		})
	}
}

func microStats(t *testing.T, nc *nats.Conn, service string) (stats micro.Stats) {
	t.Helper()
	m, err := nc.RequestWithContext(bustest.Context(t), "$SRV.STATS."+service, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(m.Data, &stats); err != nil {
		t.Fatal(err)
	}
	return stats
}

// A service handles as many requests at the same time as it has workers, and never more.
// Each client gets the answer to its own request.
func TestServiceHandlesRequestsSideBySide(t *testing.T) {
	s := bustest.Server(t)
	const workers, requests = 4, 64
	var running, most atomic.Int32
	together := make(chan struct{})
	handle(t, newService(t, bustest.Connect(t, s), bus.ServiceConfig{Workers: workers}), "t.list",
		func(ctx context.Context, req *schemas.ListRequest) (any, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			if n == workers {
				select {
				case <-together:
				default:
					close(together)
				}
			}
			select {
			case <-together:
			case <-ctx.Done():
			}
			return &schemas.ListReply{Reply: schemas.OK, Names: []string{req.Nickname}}, nil
		})
	nc := bustest.Connect(t, s)
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() {
			var rep schemas.ListReply
			name := fmt.Sprint("n", i)
			if err := bus.Request(bustest.Context(t), nc, "t.list", &schemas.ListRequest{Nickname: name}, &rep); err != nil {
				t.Error(err)
			} else if len(rep.Names) != 1 || rep.Names[0] != name {
				t.Errorf("%s got the answer for %v", name, rep.Names)
			}
		})
	}
	all.Wait()
	if most.Load() != workers {
		t.Errorf("%d requests ran at the same time, want %d", most.Load(), workers)
	}
}

// Stop waits for a running request, which is answered. Later requests find no responder.
func TestServiceStopWaitsForRunningRequests(t *testing.T) {
	srv := bustest.Server(t)
	nc := bustest.Connect(t, srv)
	s := newService(t, bustest.Connect(t, srv), bus.ServiceConfig{})
	began, finish := make(chan struct{}, 1), make(chan struct{})
	handle(t, s, "t.list", func(ctx context.Context, _ *schemas.ListRequest) (any, error) {
		select {
		case began <- struct{}{}:
		default:
		}
		<-finish
		return &schemas.ListReply{Reply: schemas.OK}, ctx.Err()
	})
	answered, stopped := make(chan error, 1), make(chan error, 1)
	ask := func(timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		return bus.Request(ctx, nc, "t.list", &schemas.ListRequest{}, &schemas.ListReply{})
	}
	go func() { answered <- ask(bustest.Timeout) }()
	bustest.Receive(t, "the request", began)
	go func() { stopped <- s.Stop() }()
	bustest.Eventually(t, "the service accepts no more requests", func() bool { return errors.Is(ask(50*time.Millisecond), bus.ErrNoResponders) })
	select {
	case err := <-stopped:
		t.Errorf("Stop returned %v before the request ended", err)
	default:
	}
	close(finish)
	if err := bustest.Receive(t, "the answer", answered); err != nil {
		t.Errorf("the running request failed: %v", err)
	}
	if err := bustest.Receive(t, "the end", stopped); err != nil {
		t.Error(err)
	}
}

func TestInstancesAreTheProcessesThatAnswer(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	if got, err := bus.Instances(t.Context(), nc, "counted"); err != nil || len(got) != 0 {
		t.Errorf("without a service: %v, %v", got, err)
	}
	newService(t, nc, bus.ServiceConfig{Name: "counted", Version: "one"})
	newService(t, nc, bus.ServiceConfig{Name: "counted", Version: "two"})
	newService(t, nc, bus.ServiceConfig{Name: "another"})
	got, err := bus.Instances(t.Context(), nc, "counted")
	if err != nil || len(got) != 2 || got[0].ID == got[1].ID {
		t.Fatalf("%v, %v", got, err)
	}
	if builds := got[0].Build + got[1].Build; builds != "onetwo" && builds != "twoone" {
		t.Errorf("the builds are %q", builds)
	}
}
