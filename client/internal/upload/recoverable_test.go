package upload

import (
	"slices"
	"testing"

	"servidor-backup/schemas"
)

func TestAnswersAreRemembered(t *testing.T) {
	var a answers
	x, y, z := schemas.ChunkID{1}, schemas.ChunkID{2}, schemas.ChunkID{3}
	a.remember([]schemas.ChunkID{x, y}, []bool{true, false})
	for _, tc := range []struct {
		ids, unknown []schemas.ChunkID
		all          bool
	}{
		{nil, nil, true},
		{[]schemas.ChunkID{x}, nil, true},
		{[]schemas.ChunkID{x, z}, []schemas.ChunkID{z}, true},
		{[]schemas.ChunkID{y}, nil, false},
		{[]schemas.ChunkID{z, y}, nil, false}, // z does not matter
	} {
		if unknown, all := a.unknown(tc.ids); !slices.Equal(unknown, tc.unknown) || all != tc.all {
			t.Errorf("of %v unknown are %v, and all may be recoverable: %v", tc.ids, unknown, all)
		}
	}
}

// Only so many answers are remembered as one question can have, and one question's more.
func TestAnswersAreBounded(t *testing.T) {
	var a answers
	for question := range 4 {
		ids := make([]schemas.ChunkID, MaxIDs)
		for i := range ids {
			ids[i] = schemas.ChunkID{byte(question), byte(i), byte(i >> 8)}
		}
		a.remember(ids, make([]bool, MaxIDs))
		if unknown, all := a.unknown(ids[:1]); all || len(unknown) > 0 {
			t.Errorf("the last answer is not remembered")
		}
		if len(a.held) > 2*MaxIDs {
			t.Errorf("%d answers are remembered after %d questions", len(a.held), question+1)
		}
	}
}
