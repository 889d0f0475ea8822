//go:build !unix

package storagetest

import "time"

// CPU returns 0, because this system does not say how much processor time the process
// has used.
func CPU() time.Duration { return 0 }
