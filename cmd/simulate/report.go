package main

import (
	"fmt"
	"math"
	"strings"

	"servidor-backup/schemas"
)

// replaceTable puts content between the two lines that mark the table of that name.
func replaceTable(text, name, content string) (string, error) {
	const end = "<!-- end -->\n"
	begin := "<!-- table " + name + " -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		return "", fmt.Errorf("there is no place for the table %s", name)
	}
	return before + begin + "\n" + content + "\n" + end + after, nil
}

// A table is written as Markdown. All but the first of its columns are to the right.
type table struct{ b strings.Builder }

func newTable(columns ...string) *table {
	t := &table{}
	t.row(columns...)
	t.b.WriteString("|---|" + strings.Repeat("---:|", len(columns)-1) + "\n")
	return t
}

func (t *table) row(cells ...string) { t.b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

func (t *table) String() string { return t.b.String() }

func percent(v float64) string {
	if v != 0 && math.Abs(v) < 0.001 {
		return fmt.Sprintf("%.2f %%", 100*v)
	}
	return fmt.Sprintf("%.1f %%", 100*v)
}

// count is a whole number with commas.
func count(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// rough is a number of two digits that count.
func rough(v float64) string {
	step := math.Pow(10, math.Floor(math.Log10(v))-1)
	return count(math.Round(v/step) * step)
}

// duration is a time of two digits or so, in the unit that people would use.
func duration(seconds float64) string {
	switch {
	case math.IsInf(seconds, 1):
		return "–"
	case seconds < 100:
		return fmt.Sprintf("%.0f s", seconds)
	case seconds < 100*60:
		return fmt.Sprintf("%.0f min", seconds/60)
	case seconds < 96*3600:
		return fmt.Sprintf("%.0f h", seconds/3600)
	}
	return fmt.Sprintf("%.0f days", seconds/86400)
}

// chance is a probability: in percent, or as one in a power of ten.
func chance(p float64) string {
	switch {
	case p >= 0.9995:
		return "sure"
	case p >= 0.01:
		return fmt.Sprintf("%.0f %%", 100*p)
	case p >= 0.0001:
		return fmt.Sprintf("%.2f %%", 100*p)
	}
	digits, exponent, _ := strings.Cut(fmt.Sprintf("%.0e", p), "e-")
	return digits + "·10^-" + strings.TrimLeft(exponent, "0")
}

const manyChunks = 100_000

func balanceTable() string {
	t := newTable("nodes", "durability", "standard deviation", "worst node, by chance at most", "worst node, found", "chunks for 5 %")
	for _, nodes := range []int{5, 6, 10, 100, 1000, 10_000} {
		for _, d := range []schemas.Durability{d10, d12, d42} {
			if d.Nodes() >= nodes {
				continue
			}
			m := cluster{nodes: nodes}.nodeMap()
			spread := chanceSpread(nodes, d.Nodes(), manyChunks)
			t.row(count(float64(nodes)), d.String(), percent(spread), percent(spread*quantileOfAll(nodes)),
				percent(worst(deviations(m, fill(m, manyChunks, d.Nodes())))), rough(chunksFor(0.05, nodes, d.Nodes())))
		}
	}
	return t.String()
}

// A bias is a cluster whose shares cannot all be those of the weights.
type bias struct {
	name string
	cluster
	sets []schemas.Durability
}

// dealt puts nodes into zones of those sizes.
func dealt(sizes ...int) func(i int) int {
	return func(i int) int {
		for z, n := range sizes {
			if i -= n; i < 0 {
				return z
			}
		}
		return len(sizes)
	}
}

func firstIsTwice(i int) uint32 {
	if i == 0 {
		return 2000
	}
	return 1000
}

var biases = []bias{
	{"12 nodes of 4, 8, 12 and 20 TB", cluster{nodes: 12, weights: mixedWeights}, []schemas.Durability{d10, d11, d12, d42}},
	{"100 nodes of 4, 8, 12 and 20 TB", cluster{nodes: 100, weights: mixedWeights}, []schemas.Durability{d10, d12, d42}},
	{"1,000 nodes of 4, 8, 12 and 20 TB", cluster{nodes: 1000, weights: mixedWeights}, []schemas.Durability{d10, d12, d42}},
	{"6 nodes, one of twice the size", cluster{nodes: 6, weights: firstIsTwice}, []schemas.Durability{d10, d11, d12}},
	{"3 zones of 4 nodes", cluster{nodes: 12, zones: 3}, []schemas.Durability{d11, d12, d42}},
	{"zones of 3, 4 and 5 nodes", cluster{nodes: 12, zoneOf: dealt(3, 4, 5)}, []schemas.Durability{d10, d11, d12, d42}},
	{"zones of 2, 2, 4 and 8 nodes", cluster{nodes: 16, zoneOf: dealt(2, 2, 4, 8)}, []schemas.Durability{d10, d11, d12, d42}},
}

// kindsOf are the mean deviations of nodes that have weight and zone in common, least
// and largest: chance is averaged out.
func kindsOf(m *schemas.NodeMap, d []float64) (least, largest float64) {
	sums, n := map[string]float64{}, map[string]float64{}
	for i, v := range d {
		kind := fmt.Sprint(m.Nodes[i].Weight, m.Nodes[i].Zone)
		sums[kind] += v
		n[kind]++
	}
	least, largest = math.Inf(1), math.Inf(-1)
	for kind := range sums {
		least, largest = min(least, sums[kind]/n[kind]), max(largest, sums[kind]/n[kind])
	}
	return least, largest
}

func biasTable() string {
	t := newTable("nodes", "durability", "the kind of node that has least", "that has most")
	for _, b := range biases {
		m := b.nodeMap()
		for _, d := range b.sets {
			least, most := kindsOf(m, deviations(m, fill(m, manyChunks, d.Nodes())))
			t.row(b.name, d.String(), fmt.Sprintf("%+.1f %%", 100*least), fmt.Sprintf("%+.1f %%", 100*most))
		}
	}
	return t.String()
}

func movesTable() string {
	const chunks = 50_000
	t := newTable("change", "durability", "moved", "least possible", "times")
	for _, c := range changes {
		for _, d := range c.sets {
			after := c.before.nodeMap()
			c.after(after)
			moves, least := moved(c.before.nodeMap(), after, chunks, d.Nodes())
			t.row(c.name, d.String(), percent(moves), percent(least), fmt.Sprintf("%.2f", moves/least))
		}
	}
	return t.String()
}

func costTable(costs []cost) string {
	columns := []string{"nodes"}
	for _, n := range costSizes.sets {
		columns = append(columns, fmt.Sprintf("set of %d", n))
	}
	t := newTable(columns...)
	for _, nodes := range costSizes.nodes {
		row := []string{count(float64(nodes))}
		for _, n := range costSizes.sets {
			cell := "–"
			for _, c := range costs {
				if c.nodes == nodes && c.n == n {
					cell = fmt.Sprintf("%.2g µs", c.took.Seconds()*1e6)
				}
			}
			row = append(row, cell)
		}
		t.row(row...)
	}
	return t.String()
}

func healTable() string {
	t := newTable("nodes", "durability", "1 TB", "4 TB", "20 TB", "100 TB",
		"4 TB of flash", "4 TB of flash, 10 Gbit/s", "4 TB, 20 MB/s at most")
	for _, nodes := range []int{6, 12, 100, 1000} {
		for _, d := range []schemas.Durability{d11, d42, d83} {
			if nodes <= d.Nodes() {
				continue
			}
			row := []string{count(float64(nodes)), d.String()}
			for _, size := range []float64{1, 4, 20, 100} {
				s := usual()
				s.nodes, s.size = nodes, size*tB
				row = append(row, healCell(s, d))
			}
			s := usual()
			s.nodes = nodes
			flash, fast, slow := s.onFlash(), s.onFlash(), s
			fast.network, slow.healRate = 10*gbit, 20*mB
			t.row(append(row, healCell(flash, d), healCell(fast, d), healCell(slow, d))...)
		}
	}
	return t.String()
}

func healCell(s site, d schemas.Durability) string {
	seconds, _ := s.healing(d)
	return duration(seconds)
}

func healLimitsTable() string {
	t := newTable("nodes", "durability", "hard disks, 1 Gbit/s", "flash, 1 Gbit/s", "flash, 10 Gbit/s", "the same, 30 NATS servers")
	for _, nodes := range []int{12, 100, 1000} {
		for _, d := range []schemas.Durability{d11, d42} {
			hard := usual()
			hard.nodes = nodes
			flash := hard.onFlash()
			fast := flash
			fast.network = 10 * gbit
			many := fast
			many.brokers = 30
			row := []string{count(float64(nodes)), d.String()}
			for _, s := range []site{hard, flash, fast, many} {
				_, limit := s.healing(d)
				row = append(row, limit)
			}
			t.row(row...)
		}
	}
	return t.String()
}

// compared are the durabilities whose chances are shown.
var compared = []schemas.Durability{d10, d11, d12, d21, d42, d83}

func lossTable() string {
	columns := []string{"nodes"}
	for _, d := range compared {
		columns = append(columns, d.String())
	}
	t := newTable(columns...)
	for _, nodes := range []int{2, 3, 4, 6, 7, 12, 30, 100, 1000, 10_000} {
		row := []string{count(float64(nodes))}
		for _, d := range compared {
			s := usual()
			s.nodes = nodes
			cell := "–"
			if nodes >= d.Nodes() {
				cell = chance(s.inAYear(d))
			}
			row = append(row, cell)
		}
		t.row(row...)
	}
	return t.String()
}

func combinationsTable() string {
	t := newTable("nodes", "durability", "chunks, if full", "chunks on the same m+1 nodes, on average")
	for _, nodes := range []int{12, 100, 1000} {
		for _, d := range []schemas.Durability{d11, d12, d42, d83} {
			s := usual()
			s.nodes = nodes
			r := risk{nodes: nodes, parts: d.Nodes(), spare: int(d.M), chunks: s.chunks(d)}
			same := fmt.Sprintf("%.2g", r.chunks*r.onAll())
			if r.chunks*r.onAll() >= 1 {
				same = rough(r.chunks * r.onAll())
			}
			t.row(count(float64(nodes)), d.String(), rough(r.chunks), same)
		}
	}
	return t.String()
}

// inOneZone is how many parts of a chunk are in one zone at most, over many chunks.
func inOneZone(c cluster, n int) int {
	m := c.nodeMap()
	most := make([]int, workers)
	eachSet(m, 2000, n, func(w, _ int, set []int) {
		per := map[string]int{}
		for _, node := range set {
			per[m.Nodes[node].Zone]++
			most[w] = max(most[w], per[m.Nodes[node].Zone])
		}
	})
	all := 0
	for _, v := range most {
		all = max(all, v)
	}
	return all
}

func zonesTable() string {
	columns := []string{"zones of equal size"}
	for _, d := range compared[1:] {
		columns = append(columns, d.String())
	}
	t := newTable(columns...)
	for _, zones := range []int{2, 3, 4, 6, 12} {
		row := []string{fmt.Sprint(zones)}
		for _, d := range compared[1:] {
			spare := int(d.M) - inOneZone(cluster{nodes: 24, zones: zones}, d.Nodes())
			cell := "loses data"
			if spare == 0 {
				cell = "survives"
			} else if spare > 0 {
				cell = fmt.Sprintf("survives, and %d more", spare)
			}
			row = append(row, cell)
		}
		t.row(row...)
	}
	return t.String()
}
