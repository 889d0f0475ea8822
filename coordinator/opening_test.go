package coordinator

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// interposed dials connections that call do once, before the bytes what are sent.
type interposed struct {
	what []byte
	do   func()
	once *sync.Once
}

type interposedConn struct {
	net.Conn
	interposed
}

func (d interposed) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &interposedConn{c, d}, err
}

func (c *interposedConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, c.what) {
		c.once.Do(c.do)
	}
	return c.Conn.Write(b)
}

// interposed starts a coordinator that calls do once, before it sends certain bytes. Tests call its
// handlers directly, as requests may go to the other coordinator.
func (w *world) interposed(what string, do func()) *Coordinator {
	w.t.Helper()
	nc, err := nats.Connect(w.server.URL(), nats.SetCustomDialer(interposed{[]byte(what), do, new(sync.Once)}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	c, err := Start(bustest.Context(w.t), nc, Options{CollectEvery: -1})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			w.t.Error(err)
		}
	})
	bustest.Eventually(w.t, "the coordinator knows the nodes", func() bool { return c.members.Map().Epoch == w.c.members.Map().Epoch })
	return c
}

// A session does not build on a version that is collected after the session has chosen it as its
// parent and before a collection could see the session.
func TestParentCollectedBeforeTheSessionIsEntered(t *testing.T) {
	w := newWorld(t, 1, Options{CollectEvery: -1})
	w.save(opening("r"), w.newTree(1, 1))
	w.save(opening("r"), w.newTree(1, 1))
	w.endSessions()
	ctx := bustest.Context(t)
	collected := false
	late := w.interposed("PUB $KV.backup-sessions.", func() {
		// Not by a request: late may get it.
		if _, err := w.c.forget(ctx, &schemas.ForgetRequest{Nickname: nickname, ID: "r@2"}); err != nil {
			t.Error(err)
		}
		c := w.steps(func(*collecting, string) {})
		collected = c.Error == "" && c.Versions == 1
	})
	answer, err := late.openSession(ctx, opening("r"))
	if err != nil || !collected {
		t.Fatalf("collected: %v; the session: %v", collected, err)
	}
	if s := answer.(*schemas.SessionReply); s.Parent == nil || s.Parent.Number != 1 {
		t.Errorf("the session builds on %+v", s.Parent)
	}
	entered := 0
	err = w.c.buckets.sessions.Scan(ctx, ">", func(e kv.Entry) error {
		entered++
		return nil
	})
	if err != nil || entered != 1 {
		t.Errorf("%d sessions are entered, %v", entered, err)
	}
}
