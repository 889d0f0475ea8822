package embedded

import (
	"testing"
	"time"
)

func TestRepeatedLinesAreLoggedOnceAMinute(t *testing.T) {
	var r repeats
	now := time.Unix(1000, 0)
	for i, test := range []struct {
		text  string
		after time.Duration
		want  bool
	}{
		{"cannot reach b:6222 (attempt 1)", 0, true},
		{"cannot reach b:6222 (attempt 2)", time.Second, false},
		{"cannot reach c:6222 (attempt 1)", 0, true},
		{"cannot reach b:6222 (attempt 240)", 58 * time.Second, false},
		{"cannot reach b:6222 (attempt 250)", 2 * time.Second, true},
	} {
		now = now.Add(test.after)
		if got := r.isNews(test.text, now); got != test.want {
			t.Errorf("line %d, %q: %t", i, test.text, got)
		}
	}
}
