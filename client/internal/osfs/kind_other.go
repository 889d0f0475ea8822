//go:build !linux && !darwin && !windows

package osfs

func kindOf(int) Kind { return Ordinary }
