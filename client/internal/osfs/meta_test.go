package osfs

import (
	"math"
	"testing"
	"time"
)

func TestModesSurviveARoundTrip(t *testing.T) {
	for mode := range uint32(0o10000) {
		if got := unixMode(goMode(mode)); got != mode {
			t.Fatalf("the mode %#o became %#o", mode, got)
		}
	}
}

func TestTimesOutOfRangeBecomeTheNearest(t *testing.T) {
	for _, tc := range []struct {
		t    time.Time
		want int64
	}{
		{time.Unix(0, 1), 1},
		{time.Unix(-1, 999_999_999), -1},
		{time.Date(2446, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64},
		{time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), math.MinInt64},
	} {
		if got := nanoseconds(tc.t); got != tc.want {
			t.Errorf("%v is %d, want %d", tc.t, got, tc.want)
		}
	}
}
