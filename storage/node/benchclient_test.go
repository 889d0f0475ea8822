package node_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage/storagetest"
)

// clientProcess is a process of this program that runs as the client. It prints "ready", waits
// for a line, does its task, and prints "done".
type clientProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

const clientVariable = "NODE_BENCH_CLIENT"

func startClient(b *testing.B, t task) *clientProcess {
	text, err := json.Marshal(t)
	if err != nil {
		b.Fatal(err)
	}
	c := &clientProcess{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), clientVariable+"="+string(text))
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	c.expect(b, "ready\n")
	return c
}

func (c *clientProcess) expect(b *testing.B, want string) {
	if line, err := c.out.ReadString('\n'); line != want {
		b.Fatalf("the client prints %q, %v; want %q", line, err, want)
	}
}

func (c *clientProcess) run(b *testing.B) {
	if _, err := io.WriteString(c.in, "go\n"); err != nil {
		b.Fatal(err)
	}
	c.expect(b, "done\n")
}

func (c *clientProcess) end(b *testing.B) {
	if err := errors.Join(c.in.Close(), c.cmd.Wait()); err != nil {
		b.Fatal(err)
	}
}

// beClient is the other process's main function.
func beClient(text string) error {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	nc, err := bus.Connect(context.Background(), bus.ConnOptions{URL: t.URL})
	if err != nil {
		return err
	}
	defer nc.Close()
	do := map[string]func(*nats.Conn) func() error{"put": t.put, "get": t.get, "have": t.have}[t.Op](nc)
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// put sends messages as the node's windows allow, an equal number in each session, and prints
// how long the fastest and the slowest session took.
func (t *task) put(*nats.Conn) func() error {
	w := t.work(2)
	sessions := max(t.Sessions, 1)
	return func() error {
		took := make([]time.Duration, sessions)
		errs := make([]error, sessions)
		start := time.Now()
		var all sync.WaitGroup
		for g := range sessions {
			all.Go(func() {
				errs[g] = t.session(w, g, sessions)
				took[g] = time.Since(start)
			})
		}
		all.Wait()
		if sessions > 1 && t.N >= 10*sessions {
			fmt.Fprintf(os.Stderr, "%d sessions took %v to %v\n", sessions, slices.Min(took), slices.Max(took))
		}
		return errors.Join(errs...)
	}
}

// session sends the messages first, first+step, first+2*step and so on.
func (t *task) session(w *storagetest.Work, first, step int) error {
	nc, err := bus.Connect(context.Background(), bus.ConnOptions{URL: t.URL})
	if err != nil {
		return err
	}
	defer nc.Close()
	s, err := replica.NewWriter(nc, replica.WriterOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	var buffers sync.Pool
	for i := first; i < t.N; i += step {
		vault, chunks := w.Message(i)
		buf, _ := buffers.Get().(*[]byte)
		if buf == nil {
			buf = new([]byte)
		}
		m := schemas.NewPut(*buf, fmt.Sprint("bench-", first), vault)
		for j := range chunks {
			m.Add(&chunks[j])
		}
		*buf = m.Put()
		all.Add(1)
		err := s.Send(context.Background(), []schemas.NodeID{t.Node}, *buf, func(err error) {
			if err != nil {
				failed.Store(&err)
			}
			buffers.Put(buf)
			all.Done()
		})
		if err != nil {
			return err
		}
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// get requests the chunks of one message at a time.
func (t *task) get(nc *nats.Conn) func() error {
	w := t.work(1)
	return t.atOnce(4, func(i int) error {
		vault, chunks := w.Message(i % stored)
		req := schemas.IDsRequest{Vault: vault}
		for j := range chunks {
			req.IDs = append(req.IDs, chunks[j].ID)
		}
		b, err := bus.RequestRaw(context.Background(), nc, schemas.GetSubject(t.Node), req.Encode())
		if err != nil {
			return err
		}
		rep, err := schemas.DecodeChunks(b)
		if err == nil && len(rep.Chunks) != t.Each {
			err = fmt.Errorf("%d chunks were returned, %v failed", len(rep.Chunks), rep.Failed)
		}
		return err
	})
}

// have sends requests with as many ids as one may name.
func (t *task) have(nc *nats.Conn) func() error {
	reqs := make([]schemas.IDsRequest, 8)
	held, other := t.work(1), t.work(2)
	for i := range reqs {
		reqs[i].Vault = storagetest.Vault
		for n := i; len(reqs[i].IDs) < replica.MaxIDs; n++ {
			for _, w := range []*storagetest.Work{held, other} {
				_, chunks := w.Message(n % stored)
				for j := range chunks[:min(len(chunks), replica.MaxIDs-len(reqs[i].IDs))] {
					reqs[i].IDs = append(reqs[i].IDs, chunks[j].ID)
				}
			}
		}
	}
	return t.atOnce(4, func(i int) error {
		b, err := bus.RequestRaw(context.Background(), nc, schemas.HaveSubject(t.Node), reqs[i%len(reqs)].Encode())
		var rep schemas.HaveReply
		if err == nil {
			err = schemas.Unmarshal(b, &rep)
		}
		return errors.Join(err, rep.Err())
	})
}

// atOnce calls do for each of the task's N numbers, from n goroutines.
func (t *task) atOnce(n int, do func(i int) error) func() error {
	return func() error {
		var next atomic.Int64
		var all sync.WaitGroup
		errs := make([]error, n)
		for g := range n {
			all.Go(func() {
				for i := int(next.Add(1)) - 1; i < t.N && errs[g] == nil; i = int(next.Add(1)) - 1 {
					errs[g] = do(i)
				}
			})
		}
		all.Wait()
		return errors.Join(errs...)
	}
}
