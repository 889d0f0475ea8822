// Package clienttest has a key and generates content for the tests of the client's
// packages. Both are the same at every run, so tests can pin what depends on them. It
// imports none of those packages, because their own tests import it.
package clienttest

import "math/rand/v2"

// Key returns the vault key for which docs/formats.md shows vectors.
func Key() (key [32]byte) {
	for i := range key {
		key[i] = byte(i)
	}
	return key
}

// Noise returns n random bytes, which do not compress. The seed decides them.
func Noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // it cannot fail
	return b
}

// Prose returns n bytes of random words, which compress as text does.
func Prose(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 3000)
	for i := range words {
		w := make([]byte, 2+r.IntN(8))
		for j := range w {
			w[j] = byte('a' + r.IntN(26))
		}
		words[i] = append(w, ' ')
	}
	var b []byte
	for len(b) < n {
		b = append(b, words[r.IntN(len(words))]...)
	}
	return b[:n]
}
