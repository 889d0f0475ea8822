//go:build !linux && !darwin

package osfs

func kindOf(int) Kind { return Ordinary }
