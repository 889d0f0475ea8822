package heal

import (
	"errors"
	"testing"
	"time"
)

// However often a survey leaves the same chunks unsettled, the next one comes later, but
// never later than the bound.
func TestRetryIsBounded(t *testing.T) {
	pause := 2 * time.Second
	for range 1000 {
		next := doubled(pause, 10*time.Minute)
		if next < pause || next > 10*time.Minute {
			t.Fatalf("after %v comes %v", pause, next)
		}
		pause = next
	}
}

// A survey that has failed, for example because the disk was full for a moment, is made again soon,
// each time after twice as long, and not only when the usual time has passed.
func TestFailedSurveyIsRepeatedSoon(t *testing.T) {
	opt := &Options{Survey: 10 * time.Minute, Settle: 2 * time.Second}
	s, now := newSchedule(opt), time.Now()
	for i := range 20 {
		s.surveyed(now, time.Second, errors.New("no space left on device"), false, false)
		if got, want := s.due.Sub(now), min(opt.Settle<<(i+1), opt.Survey); got != want {
			t.Fatalf("after %d failures the next survey comes in %v, want %v", i+1, got, want)
		}
	}
	s.surveyed(now, time.Second, nil, false, false)
	if got := s.due.Sub(now); got != opt.Survey {
		t.Errorf("after a success the next survey comes in %v", got)
	}
	s.surveyed(now, time.Second, errors.New("no space left on device"), false, false)
	if got := s.due.Sub(now); got != 2*opt.Settle {
		t.Errorf("after a success and a failure the next survey comes in %v", got)
	}
}
