package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// A goal is a ratio of our value to the value of another peer, on the same set. Below
// 1 our system is better.
type goal struct {
	name  string
	ratio func(s *summary, set string) float64 // -1 if one of the values is missing
}

var goals = []goal{
	{"first ÷ " + networkedName, against(networkedName, phaseFirst, wallOf)},
	{"first ÷ " + copyName, against(copyName, phaseFirst, wallOf)},
	{"unchanged ÷ best", againstBest(phaseUnchanged, wallOf)},
	{"mutated ÷ best", againstBest(phaseMutated, wallOf)},
	{"restore ÷ best", againstBest(phaseRestore, wallOf)},
	{"first until synced ÷ " + networkedName, against(networkedName, phaseFirst, syncedOf)},
	{"restore until synced ÷ best", againstBest(phaseRestore, syncedOf)},
	{"restore ÷ " + copyName, against(copyName, phaseRestore, wallOf)},
	{"CPU first ÷ " + networkedName, against(networkedName, phaseFirst, cpuOfAll)},
	{"CPU restore ÷ " + networkedName, against(networkedName, phaseRestore, cpuOfAll)},
	{"stored ÷ " + storedName, againstStored},
}

// syncedOf returns the time until all data is on stable storage. Some peers sync before
// they exit, others leave that to the system.
func syncedOf(r row) float64 { return r.wall + r.syncing }

// against returns the ratio of our median to the median of one peer.
func against(peer, phase string, value measure) func(*summary, string) float64 {
	return func(s *summary, set string) float64 {
		return ratio(s.median(set, oursName, phase, value), s.median(set, peer, phase, value))
	}
}

// againstStored returns the ratio of the sizes of the repositories after the first
// backup. If the local reference was not measured, the networked reference is used:
// its repository has the same format.
func againstStored(s *summary, set string) float64 {
	if r := against(storedName, phaseFirst, storedOf)(s, set); r >= 0 {
		return r
	}
	return against(networkedName, phaseFirst, storedOf)(s, set)
}

// againstBest returns the ratio of our median to the best median of the other backup
// programs. Our own peers and those that only copy do not count.
func againstBest(phase string, value measure) func(*summary, string) float64 {
	return func(s *summary, set string) float64 {
		best := -1.0
		for _, name := range s.peers {
			i := slices.IndexFunc(peers, func(p peer) bool { return p.name == name })
			if i < 0 || peers[i].copies || slices.Contains(peers[i].needs, oursName) {
				continue
			}
			if v := s.median(set, name, phase, value); v >= 0 && (best < 0 || v < best) {
				best = v
			}
		}
		return ratio(s.median(set, oursName, phase, value), best)
	}
}

// ratio returns a/b, or -1 if a is missing, or b is missing or zero.
func ratio(a, b float64) float64 {
	if a < 0 || b <= 0 {
		return -1
	}
	return a / b
}

// writeGoals writes the table of all goals, with geometric means over the sets.
func writeGoals(w io.Writer, s *summary) {
	if !slices.Contains(s.peers, oursName) {
		return
	}
	fmt.Fprintf(w, "\n## Goals\n\nThe value of our system (`%s`) divided by the value of the reference: below 1 our system is better.\n"+
		"\"Best\" is the best of the other backup programs in that phase. CPU is the CPU time of all processes.\n"+
		"The mean is the geometric mean over the sets that have the ratio.\n\n", oursName)
	fmt.Fprintf(w, "| goal | %s | mean |\n|---|%s--:|\n", strings.Join(s.sets, " | "), strings.Repeat("--:|", len(s.sets)))
	for _, g := range goals {
		cells := []string{g.name}
		var all []float64
		for _, set := range s.sets {
			r := g.ratio(s, set)
			cells = append(cells, number(r))
			if r > 0 {
				all = append(all, r)
			}
		}
		fmt.Fprintf(w, "| %s | %s |\n", strings.Join(cells, " | "), number(geometricMean(all)))
	}
}

// geometricMean returns -1 if there are no values.
func geometricMean(all []float64) float64 {
	if len(all) == 0 {
		return -1
	}
	logs := 0.0
	for _, v := range all {
		logs += math.Log(v)
	}
	return math.Exp(logs / float64(len(all)))
}
