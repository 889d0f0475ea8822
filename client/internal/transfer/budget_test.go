package transfer

import (
	"testing"

	"servidor-backup/schemas"
)

func TestBudgetScalesBounds(t *testing.T) {
	const large = 8 * schemas.MaxBatch
	for _, tc := range []struct {
		budget Budget
		bytes  int64 // of large
		slots  int   // of 12
	}{
		{0, large, 12}, // the zero value is the whole
		{1, large, 12},
		{-1, large, 12},
		{2, large, 12},
		{0.5, large / 2, 6},
		{0.25, large / 4, 3},
		{0.1, schemas.MaxBatch, 1},   // a message fits
		{0.001, schemas.MaxBatch, 1}, // and something happens
	} {
		if got := tc.budget.Bytes(large); got != tc.bytes {
			t.Errorf("%v of %d bytes is %d, want %d", tc.budget, large, got, tc.bytes)
		}
		if got := tc.budget.Slots(12); got != tc.slots {
			t.Errorf("%v of 12 slots is %d, want %d", tc.budget, got, tc.slots)
		}
	}
}
