package main

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"servidor-backup/schemas"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*math.Abs(want)) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestFiveAndSixNodesAreWithinFivePercent(t *testing.T) {
	for _, nodes := range []int{5, 6} {
		for n := 1; n <= 3; n++ {
			m := cluster{nodes: nodes}.nodeMap()
			if w := worst(deviations(m, fill(m, 100_000, n))); w > 0.05 {
				t.Errorf("%d of %d nodes: the worst is %.3f from its share", n, nodes, w)
			}
		}
	}
}

// The formula of chance must be that of real placement: over many nodes, the deviations
// have its standard deviation, and none is beyond its limit.
func TestChanceSpreadIsThatOfPlacement(t *testing.T) {
	const nodes, n, chunks = 200, 3, 40_000
	m := cluster{nodes: nodes}.nodeMap()
	d := deviations(m, fill(m, chunks, n))
	var squares float64
	for _, v := range d {
		squares += v * v
	}
	want := chanceSpread(nodes, n, chunks)
	near(t, "the standard deviation", math.Sqrt(squares/nodes), want, 0.15)
	if w := worst(d); w > want*quantileOfAll(nodes) || w < 2*want {
		t.Errorf("the worst of %d nodes is %v standard deviations away", nodes, w/want)
	}
	chunksNeeded := chunksFor(0.05, nodes, n)
	near(t, "the limit at as many chunks as are needed", quantileOfAll(nodes)*chanceSpread(nodes, n, int(chunksNeeded)), 0.05, 1e-3)
}

func TestDeviationsAreFromTheShareByWeight(t *testing.T) {
	m := cluster{nodes: 2, weights: func(i int) uint32 { return uint32(1 + 2*i) }}.nodeMap()
	d := deviations(m, []float64{30, 70})
	near(t, "the light one's deviation", d[0], 0.2, 1e-9)
	near(t, "the heavy one's deviation", d[1], 70.0/75-1, 1e-9)
}

func TestGoalOfMovement(t *testing.T) {
	for _, d := range []schemas.Durability{d11, d12, d42} {
		before := cluster{nodes: 5}.nodeMap()
		after := cluster{nodes: 5}.nodeMap()
		join("")(after)
		moves, least := moved(before, after, 20_000, d.Nodes())
		if moves > 1.1/6 || moves < 0.9/6 || moves < least {
			t.Errorf("%v: %v moved, %v had to", d, moves, least)
		}
	}
}

func TestMovedCountsWhatIsElsewhere(t *testing.T) {
	before := cluster{nodes: 2}.nodeMap()
	after := cluster{nodes: 2}.nodeMap()
	after.Nodes[0].ID, after.Nodes[1].ID = "other-0", "other-1"
	if moves, least := moved(before, after, 100, 2); moves != 1 || least != 1 {
		t.Errorf("%v moved, %v had to, of nodes that are all others", moves, least)
	}
	if moves, least := moved(before, before, 100, 1); moves != 0 || least != 0 {
		t.Errorf("%v moved, %v had to, though nothing changed", moves, least)
	}
}

func TestHealing(t *testing.T) {
	s := site{nodes: 11, size: 1000, network: 10, disk: 1000, brokers: 1, broker: 1e6}
	for _, c := range []struct {
		name   string
		change func(*site)
		d      schemas.Durability
		want   float64
		limit  string
	}{
		{"copies", func(*site) {}, d12, 10, "network"},
		{"shards take k times as long", func(*site) {}, d42, 40, "network"},
		{"a slow disk", func(s *site) { s.disk = 1 }, d42, 500, "disks"},
		{"seeks", func(s *site) { s.network, s.disk, s.seek = 1e9, 1e9, chunkSize/4 }, d42, 400, "disks"},
		{"a slow broker", func(s *site) { s.broker = 20 }, d12, 50, "brokers"},
		{"two slow brokers", func(s *site) { s.broker, s.brokers = 20, 2 }, d12, 25, "brokers"},
		{"a low rate", func(s *site) { s.healRate = 1 }, d12, 100, "rate"},
		{"too few nodes", func(s *site) { s.nodes = 6 }, d42, math.Inf(1), "no node"},
	} {
		s := s
		c.change(&s)
		got, limit := s.healing(c.d)
		if got != c.want && math.Abs(got-c.want) > 0.001*c.want || limit != c.limit {
			t.Errorf("%s: %v by %s, want %v by %s", c.name, got, limit, c.want, c.limit)
		}
	}
}

// The formula against failures that are played, at rates at which many are lost at once.
func TestChanceOfLossIsThatOfHistories(t *testing.T) {
	for _, c := range []struct {
		name        string
		nodes       int
		d           schemas.Durability
		grace, heal float64
		rate        float64
	}{
		{"no second copy", 8, d10, 1, 1, 0.01},
		{"grace alone", 10, d11, 1, 1e-6, 0.02},
		{"healing alone", 10, d11, 0, 1, 0.02},
		{"both, two spare", 10, d12, 0.5, 1, 0.03},
		{"grace alone, two spare", 10, d12, 1, 1e-6, 0.04},
		{"healing alone, two spare", 10, d12, 0, 2, 0.03},
		{"shards", 12, d42, 0.5, 1, 0.02},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := risk{nodes: c.nodes, parts: c.d.Nodes(), spare: int(c.d.M), chunks: 300, rate: c.rate, grace: c.grace, heal: c.heal}
			h := &history{risk: r, sets: make([]uint64, int(r.chunks)), random: rand.New(rand.NewPCG(1, 1))}
			eachSet(cluster{nodes: c.nodes}.nodeMap(), len(h.sets), r.parts, func(_, i int, set []int) {
				for _, node := range set {
					h.sets[i] |= 1 << node
				}
			})
			const losses = 100
			var sum float64
			for range losses {
				sum += h.untilLoss()
			}
			near(t, "the mean time until loss", r.until(), sum/losses, 0.25)
			t.Logf("formula %.4g, played %.4g", r.until(), sum/losses)
		})
	}
}

// With few chunks, most combinations of nodes have none in common.
func TestFewChunksAreRarelyOnTheSameNodes(t *testing.T) {
	r := risk{nodes: 100, parts: 3, spare: 2, chunks: 1617} // a hundredth of 100 over 3
	near(t, "the chance that 3 of 100 have a chunk in common", r.common(), 1-math.Exp(-0.01), 1e-9)
	r.rate, r.grace, r.heal = 1e-6, 1, 1
	few := r.until()
	r.chunks = 1e9
	near(t, "the time until loss, over that with many chunks", few/r.until(), 100, 0.02)
}

func TestMoreSpareIsSaferAndOneCopyIsWhatNodesAre(t *testing.T) {
	s := usual()
	near(t, "the chance with one copy", s.inAYear(d10), -math.Expm1(-12*afr), 1e-6)
	if a, b, c := s.inAYear(d10), s.inAYear(d11), s.inAYear(d12); !(a > 10*b && b > 10*c) {
		t.Errorf("1+0, 1+1, 1+2: %v, %v, %v", a, b, c)
	}
}

func TestZonesBoundWhatOneHolds(t *testing.T) {
	for _, c := range []struct{ zones, n, want int }{{3, 3, 1}, {3, 6, 2}, {2, 3, 2}, {4, 11, 3}} {
		if got := inOneZone(cluster{nodes: 24, zones: c.zones}, c.n); got != c.want {
			t.Errorf("%d parts over %d zones: %d in one, want %d", c.n, c.zones, got, c.want)
		}
	}
}

func TestReplaceTable(t *testing.T) {
	const text = "a\n<!-- table x -->\nold\n<!-- end -->\nb\n<!-- table y -->\n<!-- end -->\n"
	got, err := replaceTable(text, "x", "new\n")
	if want := strings.Replace(text, "old\n", "\nnew\n\n", 1); err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := replaceTable(got, "x", "new\n"); err != nil || again != got {
		t.Errorf("a second time: %q, %v", again, err)
	}
	if _, err := replaceTable(text, "z", ""); err == nil {
		t.Error("a table without a place was written")
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		count(1234567): "1,234,567", count(999): "999", rough(12345): "12,000", rough(0.5e3): "500",
		duration(50): "50 s", duration(7200): "2 h", duration(math.Inf(1)): "–",
		chance(0.5): "50 %", chance(3e-7): "3·10^-7", chance(1): "sure",
		percent(0.1667): "16.7 %", power(-3): "0.001", power(-7): "1e-7", power(4): "10,000",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPlotsAreWritten(t *testing.T) {
	dir := t.TempDir()
	for name, draw := range map[string]func(string) error{"keeping-heal": drawHealing, "keeping-loss": drawLoss} {
		if err := draw(dir); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, name+".svg")); err != nil || !strings.Contains(string(b), "<svg") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
