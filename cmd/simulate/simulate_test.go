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
			if w := largestDeviation(deviations(m, countParts(m, 100_000, n))); w > 0.05 {
				t.Errorf("%d of %d nodes: one node deviates by %.3f from its share", n, nodes, w)
			}
		}
	}
}

// Real placement must follow the formulas for random placement: over many nodes, the
// deviations have that standard deviation, and none exceeds that limit.
func TestPlacementDeviatesLikeRandomPlacement(t *testing.T) {
	const nodes, n, chunks = 200, 3, 40_000
	m := cluster{nodes: nodes}.nodeMap()
	d := deviations(m, countParts(m, chunks, n))
	var squares float64
	for _, v := range d {
		squares += v * v
	}
	want := standardDeviation(nodes, n, chunks)
	near(t, "the standard deviation", math.Sqrt(squares/nodes), want, 0.15)
	if w := largestDeviation(d); w > want*randomLimit(nodes) || w < 2*want {
		t.Errorf("the largest deviation of %d nodes is %v standard deviations", nodes, w/want)
	}
	needed := chunksNeeded(0.05, nodes, n)
	near(t, "the limit with the needed number of chunks", randomLimit(nodes)*standardDeviation(nodes, n, int(needed)), 0.05, 1e-3)
}

func TestDeviationsAreRelativeToTheShareByWeight(t *testing.T) {
	m := cluster{nodes: 2, weights: func(i int) uint32 { return uint32(1 + 2*i) }}.nodeMap()
	d := deviations(m, []float64{30, 70})
	near(t, "the deviation of the light node", d[0], 0.2, 1e-9)
	near(t, "the deviation of the heavy node", d[1], 70.0/75-1, 1e-9)
}

func TestNewNodeMovesFewParts(t *testing.T) {
	for _, d := range []schemas.Durability{d11, d12, d42} {
		before := cluster{nodes: 5}.nodeMap()
		after := cluster{nodes: 5}.nodeMap()
		addNode("")(after)
		moves, least := moved(before, after, 20_000, d.Nodes())
		if moves > 1.1/6 || moves < 0.9/6 || moves < least {
			t.Errorf("%v: %v moved, the least possible is %v", d, moves, least)
		}
	}
}

func TestMovedCountsPartsOnOtherNodes(t *testing.T) {
	before := cluster{nodes: 2}.nodeMap()
	after := cluster{nodes: 2}.nodeMap()
	after.Nodes[0].ID, after.Nodes[1].ID = "other-0", "other-1"
	if moves, least := moved(before, after, 100, 2); moves != 1 || least != 1 {
		t.Errorf("all nodes are different, but %v moved, the least possible is %v", moves, least)
	}
	if moves, least := moved(before, before, 100, 1); moves != 0 || least != 0 {
		t.Errorf("the map is the same, but %v moved, the least possible is %v", moves, least)
	}
}

func TestHealingTime(t *testing.T) {
	s := site{nodes: 11, size: 1000, network: 10, disk: 1000, servers: 1, relay: 1e6}
	for _, c := range []struct {
		name   string
		change func(*site)
		d      schemas.Durability
		want   float64
		limit  string
	}{
		{"replicas", func(*site) {}, d12, 10, "network"},
		{"shards take k times as long", func(*site) {}, d42, 40, "network"},
		{"a slow disk", func(s *site) { s.disk = 1 }, d42, 500, "disks"},
		{"seeks", func(s *site) { s.network, s.disk, s.seek = 1e9, 1e9, chunkSize/4 }, d42, 400, "disks"},
		{"a slow NATS server", func(s *site) { s.relay = 20 }, d12, 50, "NATS servers"},
		{"two slow NATS servers", func(s *site) { s.relay, s.servers = 20, 2 }, d12, 25, "NATS servers"},
		{"a low rate", func(s *site) { s.healRate = 1 }, d12, 100, "rate"},
		{"too few nodes", func(s *site) { s.nodes = 6 }, d42, math.Inf(1), "too few nodes"},
	} {
		s := s
		c.change(&s)
		got, limit := s.healingTime(c.d)
		if got != c.want && math.Abs(got-c.want) > 0.001*c.want || limit != c.limit {
			t.Errorf("%s: %v s, limited by %s, want %v s, limited by %s", c.name, got, limit, c.want, c.limit)
		}
	}
}

// The formula must agree with simulated histories, at failure rates at which several nodes
// are lost at the same time.
func TestTimeToLossAgreesWithHistories(t *testing.T) {
	for _, c := range []struct {
		name        string
		nodes       int
		d           schemas.Durability
		grace, heal float64
		rate        float64
	}{
		{"no second replica", 8, d10, 1, 1, 0.01},
		{"grace alone", 10, d11, 1, 1e-6, 0.02},
		{"healing alone", 10, d11, 0, 1, 0.02},
		{"both, two parts to lose", 10, d12, 0.5, 1, 0.03},
		{"grace alone, two parts to lose", 10, d12, 1, 1e-6, 0.04},
		{"healing alone, two parts to lose", 10, d12, 0, 2, 0.03},
		{"shards", 12, d42, 0.5, 1, 0.02},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := risk{nodes: c.nodes, parts: c.d.Nodes(), margin: int(c.d.M), chunks: 300, rate: c.rate, grace: c.grace, heal: c.heal}
			h := &history{risk: r, sets: make([]uint64, int(r.chunks)), random: rand.New(rand.NewPCG(1, 1))}
			forEachSet(cluster{nodes: c.nodes}.nodeMap(), len(h.sets), r.parts, func(_, i int, set []int) {
				for _, node := range set {
					h.sets[i] |= 1 << node
				}
			})
			const losses = 100
			var sum float64
			for range losses {
				sum += h.timeToLoss()
			}
			near(t, "the mean time until loss", r.timeToLoss(), sum/losses, 0.25)
			t.Logf("formula %.4g, simulated %.4g", r.timeToLoss(), sum/losses)
		})
	}
}

// With few chunks, most combinations of nodes have no chunk in common.
func TestFewChunksAreRarelyOnTheSameNodes(t *testing.T) {
	// There are 100 times as many combinations of 3 nodes out of 100.
	r := risk{nodes: 100, parts: 3, margin: 2, chunks: 1617}
	near(t, "the chance that 3 of 100 nodes have a chunk in common", r.sharedChance(), 1-math.Exp(-0.01), 1e-9)
	r.rate, r.grace, r.heal = 1e-6, 1, 1
	few := r.timeToLoss()
	r.chunks = 1e9
	near(t, "the time to loss, divided by the time with many chunks", few/r.timeToLoss(), 100, 0.02)
}

func TestMoreReplicasAreSafer(t *testing.T) {
	s := defaultSite()
	near(t, "the chance with one replica, which is the chance that any node is lost", s.lossChance(d10), -math.Expm1(-12*afr), 1e-6)
	if a, b, c := s.lossChance(d10), s.lossChance(d11), s.lossChance(d12); !(a > 10*b && b > 10*c) {
		t.Errorf("the chances with 1+0, 1+1 and 1+2 are %v, %v and %v", a, b, c)
	}
}

func TestPartsAreSpreadOverZones(t *testing.T) {
	for _, c := range []struct{ zones, n, want int }{{3, 3, 1}, {3, 6, 2}, {2, 3, 2}, {4, 11, 3}} {
		if got := mostPerZone(cluster{nodes: 24, zones: c.zones}, c.n); got != c.want {
			t.Errorf("%d parts over %d zones: %d in one zone, want %d", c.n, c.zones, got, c.want)
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
		t.Errorf("the second time: %q, %v", again, err)
	}
	if _, err := replaceTable(text, "z", ""); err == nil {
		t.Error("a table was written into a document without its marks")
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		count(1234567): "1,234,567", count(999): "999", rough(12345): "12,000", rough(0.5e3): "500",
		duration(50): "50 s", duration(7200): "2 h", duration(math.Inf(1)): "–",
		chance(0.5): "50 %", chance(3e-7): "3·10^-7", chance(1): "sure",
		percent(0.1667): "16.7 %", powerOfTen(-3): "0.001", powerOfTen(-7): "1e-7", powerOfTen(4): "10,000",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPlotsAreWritten(t *testing.T) {
	dir := t.TempDir()
	for name, draw := range map[string]func(string) error{"simulate-heal": drawHealing, "simulate-loss": drawLoss} {
		if err := draw(dir); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, name+".svg")); err != nil || !strings.Contains(string(b), "<svg") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
