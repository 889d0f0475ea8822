package embedded

import (
	"errors"
	"testing"
	"time"
)

// A lone server tells when JetStream has given up, which it does after a write that fails. Until
// then, and when it is shut down, it tells nothing.
func TestServerTellsThatItCannotWrite(t *testing.T) {
	failed := make(chan error, 1)
	s, err := Start(Options{Dir: t.TempDir(), Failed: func(err error) { failed <- err }})
	if err != nil {
		t.Fatal(err)
	}
	s.ns.Errorf("an error that ends nothing")
	select {
	case err := <-failed:
		t.Error("it tells of a failure, but goes on: ", err)
	case <-time.After(4 * healthEvery):
	}
	if err := s.ns.DisableJetStream(); err != nil {
		t.Fatal(err)
	}
	s.ns.Errorf("JetStream out of resources, will be DISABLED")
	select {
	case err := <-failed:
		if !errors.Is(err, ErrFailed) {
			t.Errorf("the error is %v, want %v", err, ErrFailed)
		}
	case <-time.After(time.Minute):
		t.Error("it does not tell")
	}
	if err := s.Shutdown(); err != nil {
		t.Error(err)
	}

	s, err = Start(Options{Dir: t.TempDir(), Failed: func(err error) { failed <- err }})
	if err != nil {
		t.Fatal(err)
	}
	s.ns.Errorf("an error right before the end")
	if err := s.Shutdown(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-failed:
		t.Error("it takes its own end for a failure: ", err)
	default:
	}
}
