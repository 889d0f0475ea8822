//go:build !unix

package storagetest

import "time"

// CPU is the processor time that this process has used so far; systems that do
// not say give 0.
func CPU() time.Duration { return 0 }
