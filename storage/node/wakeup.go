package node

// wakeup wakes a goroutine that receives from it. A wakeup that is sent while the last one
// has not been received is dropped, as one is enough.
type wakeup chan struct{}

func newWakeup() wakeup { return make(wakeup, 1) }

// send never blocks.
func (w wakeup) send() {
	select {
	case w <- struct{}{}:
	default:
	}
}
