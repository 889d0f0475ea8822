package client

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

const (
	// coordinatorTime is how long a coordinator that has responded before may be unreachable when
	// a backup or restore begins, because it restarts; less if Options.Wait is less.
	coordinatorTime = 20 * time.Second
	// coordinatorPause is the time between two attempts to reach a coordinator.
	coordinatorPause = 200 * time.Millisecond
	// answerTime is how long the first attempt of a retried request waits for its answer.
	answerTime = 30 * time.Second
	// stopGap is from when on a pause between two looks at the server, one second apart, means
	// that this process was stopped. The server was not silent for that time.
	stopGap = 5 * time.Second
)

// DefaultWait is how long a backup or restore under way waits for what is gone, unless
// Options.Wait says otherwise.
const DefaultWait = 15 * time.Minute

// control sends requests to the coordinators.
type control struct {
	nc        *nats.Conn
	server    string // its URLs; "" for a server of this process
	status    func(s schemas.Sentence)
	wait      time.Duration // Options.Wait
	responded atomic.Bool   // a coordinator has responded before
}

// where names the server in messages.
func (ctl *control) where() string {
	if ctl.server == "" {
		return "the server of this process"
	}
	return bus.Redact(ctl.server)
}

// request sends one request.
func (ctl *control) request(ctx context.Context, subject string, req any, rep bus.Reply) error {
	err := bus.Request(ctx, ctl.nc, subject, req, rep)
	switch {
	case err == nil:
		ctl.responded.Store(true)
	case errors.Is(err, bus.ErrNoResponders) && ctl.server == "":
		return schemas.Explain("", "no-coordinator-here", "no coordinator answers in this process").WithKind(ErrNoCoordinator)
	case errors.Is(err, bus.ErrNoResponders):
		return schemas.Explain("", "no-coordinator", "no coordinator answers at {server}", "server", ctl.server).WithKind(ErrNoCoordinator)
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return schemas.Explain("", "coordinator-silent", "the coordinator at {server} did not answer in time: is its NATS server healthy?", "server", ctl.where()).WithKind(err)
	}
	return err
}

// requestOrRetry sends a request with which a backup or restore begins. It retries for a while if
// a coordinator took the request or responded before: the coordinator may be restarting, or another
// one takes its place. The request must be one that may be sent twice.
func (ctl *control) requestOrRetry(ctx context.Context, subject string, req any, rep bus.Reply) error {
	responded := ctl.responded.Load()
	err := ctl.request(ctx, subject, req, rep)
	died := errors.Is(err, context.DeadlineExceeded) // it took the request, or the error would be ErrNoCoordinator
	stops := schemas.CodeOf(err) == schemas.Unavailable
	if ctx.Err() != nil || !died && !stops && !(responded && isUnreachable(err)) {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, min(coordinatorTime, ctl.wait))
	defer cancel()
	if again := ctl.retry(limited, subject, req, rep); limited.Err() == nil || ctx.Err() != nil {
		return again
	}
	return err
}

// retry sends a request until it is answered, or until no coordinator has been reachable for
// Options.Wait. It sends the request again if the answer was lost with the connection, so the
// request must be one that may be sent twice.
func (ctl *control) retry(ctx context.Context, subject string, req any, rep bus.Reply) error {
	var since time.Time // of the first attempt that found no coordinator
	defer func() {
		if !since.IsZero() {
			ctl.status(schemas.Sentence{})
		}
	}()
	for timeout := answerTime; ; {
		err := ctl.requestWithin(ctx, timeout, subject, req, rep)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			// The coordinator that took the request may have died. Or the request takes
			// longer than that, and gets more time.
			timeout *= 2
			continue
		}
		if !isUnreachable(err) || ctx.Err() != nil {
			return err
		}
		if since.IsZero() {
			since = time.Now()
			until := since.Add(ctl.wait)
			if deadline, limited := ctx.Deadline(); limited && deadline.Before(until) {
				until = deadline
			}
			ctl.status(waitSentence("waiting-for-coordinator", "waiting for a coordinator at {server}", ctl.where(), since, until))
		}
		if time.Since(since) > ctl.wait {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(coordinatorPause):
		}
	}
}

// isUnreachable reports whether err passes by itself when a restart is over: that of the
// coordinator, or of the catalogue or a node that the coordinator asks.
func isUnreachable(err error) bool {
	return errors.Is(err, errAnswerLost) || errors.Is(err, ErrNoCoordinator) || schemas.CodeOf(err) == schemas.Unavailable
}

var errAnswerLost = errors.New("the connection was lost before the answer came")

// requestWithin is request with a timeout. It fails with errAnswerLost as soon as the connection is
// lost, because the answer will never come, and the timeout may be long.
func (ctl *control) requestWithin(ctx context.Context, timeout time.Duration, subject string, req any, rep bus.Reply) error {
	lost := ctl.nc.StatusChanged(nats.RECONNECTING)
	defer ctl.nc.RemoveStatusListener(lost)
	limited, end := context.WithTimeout(ctx, timeout)
	defer end()
	bounded, cancel := context.WithCancelCause(limited)
	defer cancel(nil)
	go func() {
		select {
		case <-lost:
			cancel(errAnswerLost)
		case <-bounded.Done():
		}
	}()
	err := ctl.request(bounded, subject, req, rep)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return context.Cause(bounded)
	}
	return err
}

// watchServer returns a context that ends when the server has been unreachable for Options.Wait. The
// cause of its end is then an error that says so. Meanwhile the status says what is waited for.
func (ctl *control) watchServer(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		waiting := false
		for last, looked := time.Now(), time.Now(); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				now := time.Now()
				if pause := now.Sub(looked); pause > stopGap {
					last = last.Add(pause)
				}
				looked = now
				switch {
				case ctl.nc.IsConnected():
					last, waiting = now, false // the connection says that it is back
				case now.Sub(last) > ctl.wait:
					cancel(schemas.Explain("", "server-given-up", "no server answered at {server} for {time}: try again; what was stored is not sent twice", "server", ctl.where(), "time", ctl.wait).WithKind(bus.ErrNoServer))
				case !waiting:
					waiting = true
					ctl.status(waitSentence("waiting-for-the-server", "waiting for the server {server}", ctl.where(), last, last.Add(ctl.wait)))
				}
			}
		}
	}()
	return ctx, cancel
}

// waitSentence adds to what is waited for since when it is silent, and until when at most.
func waitSentence(reason, what, server string, since, until time.Time) schemas.Sentence {
	const clock = "15:04"
	return schemas.Say(reason, what+", silent since {since} (given up at {until})",
		"server", server, "since", since.Format(clock), "until", until.Format(clock))
}

// explainUnresponsive adds to the error of an unresponsive node what the user can do about it.
func explainUnresponsive(err error) error {
	if errors.Is(err, bus.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
		return schemas.Explain("", "node-silent", "a storage node that holds the data does not answer; is it running?").WithKind(err)
	}
	return err
}
