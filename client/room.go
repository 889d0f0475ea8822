package client

import "servidor-backup/schemas"

// room scales the bounds on what a transfer holds in memory; see Options.Room.
type room float64

// of is so much of the usual number, at least least.
func (r room) of(usual, least int64) int64 {
	if r <= 0 || r >= 1 {
		return usual
	}
	return max(int64(float64(r)*float64(usual)), least)
}

// bytes is for budgets of bytes; a whole message, or a chunk, always fits.
func (r room) bytes(usual int64) int64 { return r.of(usual, schemas.MaxBatch) }

// slots is for how much is done side by side.
func (r room) slots(usual int) int { return int(r.of(int64(usual), 1)) }
