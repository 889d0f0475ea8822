package transfer

import "servidor-backup/schemas"

// Budget scales the bounds on what a transfer holds in memory: it is the part of the usual
// bounds, between 0 and 1, and 0 is 1. See Options.Room.
type Budget float64

// scale multiplies usual by the budget, but never goes below least.
func (b Budget) scale(usual, least int64) int64 {
	if b <= 0 || b >= 1 {
		return usual
	}
	return max(int64(float64(b)*float64(usual)), least)
}

// Bytes is for bounds in bytes; a whole message, or a chunk, always fits.
func (b Budget) Bytes(usual int64) int64 { return b.scale(usual, schemas.MaxBatch) }

// Slots is for how much is done side by side.
func (b Budget) Slots(usual int) int { return int(b.scale(int64(usual), 1)) }
