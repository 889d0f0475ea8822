package main

import (
	"math"
	"strconv"
	"strings"
)

// parseSize parses a number of bytes as people write it: 4096, 500K, 1.5G. K is 1024, M is
// 1024 K and so on; case does not matter, and B or iB may follow.
func parseSize(s string) (bytes int64, ok bool) {
	number, binary := strings.CutSuffix(strings.ToUpper(s), "IB")
	if !binary {
		number = strings.TrimSuffix(number, "B")
	}
	unit := 1.0
	if i := strings.IndexByte("KMGT", lastByte(number)); i >= 0 {
		number = number[:len(number)-1]
		unit = math.Pow(1024, float64(i+1))
	} else if binary {
		return 0, false
	}
	if strings.Trim(number, "0123456789.") != "" { // ParseFloat also accepts 1e3, 0x1p4, inf
		return 0, false
	}
	f, err := strconv.ParseFloat(number, 64)
	if f *= unit; err != nil || f >= math.MaxInt64 {
		return 0, false
	}
	return int64(f), true
}

func lastByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}
