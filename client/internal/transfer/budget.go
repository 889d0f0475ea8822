package transfer

import "servidor-backup/schemas"

// Budget scales what a transfer holds in memory: it is a part of the usual bounds, between 0
// and 1. The zero Budget is 1.
type Budget float64

// scale multiplies usual by the budget, but never goes below least.
func (b Budget) scale(usual, least int64) int64 {
	if b <= 0 || b >= 1 {
		return usual
	}
	return max(int64(float64(b)*float64(usual)), least)
}

// Bytes scales a bound in bytes. The result always has space for a whole message, and so for
// a chunk.
func (b Budget) Bytes(usual int64) int64 { return b.scale(usual, schemas.MaxBatch) }

// Slots scales how many things happen at a time. The result is at least 1.
func (b Budget) Slots(usual int) int { return int(b.scale(int64(usual), 1)) }
