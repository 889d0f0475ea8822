package main

import (
	"fmt"
	"math"
	"strings"

	"servidor-backup/schemas"
)

// replaceTable returns text with content between the two lines that mark the table name.
func replaceTable(text, name, content string) (string, error) {
	const end = "<!-- end -->\n"
	begin := "<!-- table " + name + " -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		return "", fmt.Errorf("the lines %q and %q are missing", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + "\n" + content + "\n" + end + after, nil
}

// A table is a table in Markdown. All columns but the first are aligned to the right.
type table struct{ b strings.Builder }

func newTable(columns ...string) *table {
	t := &table{}
	t.row(columns...)
	t.b.WriteString("|---|" + strings.Repeat("---:|", len(columns)-1) + "\n")
	return t
}

func (t *table) row(cells ...string) { t.b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

func (t *table) String() string { return t.b.String() }

// percent formats a fraction in percent, with two decimals if it is small.
func percent(v float64) string {
	if v != 0 && math.Abs(v) < 0.001 {
		return fmt.Sprintf("%.2f %%", 100*v)
	}
	return fmt.Sprintf("%.1f %%", 100*v)
}

// count formats a number without decimals, with commas between thousands.
func count(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// rough formats a number rounded to two significant digits.
func rough(v float64) string {
	step := math.Pow(10, math.Floor(math.Log10(v))-1)
	return count(math.Round(v/step) * step)
}

// duration formats a time with two or three digits, in a suitable unit.
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

// chance formats a probability: in percent, or as a power of ten if it is small.
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

// manyChunks is the number of chunks of the tables of balance.
const manyChunks = 100_000

func balanceTable() string {
	t := newTable("nodes", "durability", "standard deviation", "largest deviation, limit", "largest deviation, found", "chunks for 5 %")
	for _, nodes := range []int{5, 6, 10, 100, 1000, 10_000} {
		for _, d := range []schemas.Durability{d10, d12, d42} {
			if d.Nodes() >= nodes {
				continue
			}
			m := cluster{nodes: nodes}.nodeMap()
			deviation := standardDeviation(nodes, d.Nodes(), manyChunks)
			t.row(count(float64(nodes)), d.String(), percent(deviation), percent(deviation*randomLimit(nodes)),
				percent(largestDeviation(deviations(m, countParts(m, manyChunks, d.Nodes())))),
				rough(chunksNeeded(0.05, nodes, d.Nodes())))
		}
	}
	return t.String()
}

// A bias is a cluster in which placement cannot give every node its share by weight.
type bias struct {
	name string
	cluster
	sets []schemas.Durability
}

// zonesOf returns the zone of each node in a cluster with zones of these sizes.
func zonesOf(sizes ...int) func(i int) int {
	return func(i int) int {
		for z, n := range sizes {
			if i -= n; i < 0 {
				return z
			}
		}
		return len(sizes)
	}
}

// firstDouble gives the first node twice the weight of the others.
func firstDouble(i int) uint32 {
	if i == 0 {
		return 2000
	}
	return 1000
}

var biases = []bias{
	{"12 nodes of 4, 8, 12 and 20 TB", cluster{nodes: 12, weights: mixedWeights}, []schemas.Durability{d10, d11, d12, d42}},
	{"100 nodes of 4, 8, 12 and 20 TB", cluster{nodes: 100, weights: mixedWeights}, []schemas.Durability{d10, d12, d42}},
	{"1,000 nodes of 4, 8, 12 and 20 TB", cluster{nodes: 1000, weights: mixedWeights}, []schemas.Durability{d10, d12, d42}},
	{"6 nodes, one twice as large", cluster{nodes: 6, weights: firstDouble}, []schemas.Durability{d10, d11, d12}},
	{"3 zones of 4 nodes", cluster{nodes: 12, zones: 3}, []schemas.Durability{d11, d12, d42}},
	{"zones of 3, 4 and 5 nodes", cluster{nodes: 12, zoneOf: zonesOf(3, 4, 5)}, []schemas.Durability{d10, d11, d12, d42}},
	{"zones of 2, 2, 4 and 8 nodes", cluster{nodes: 16, zoneOf: zonesOf(2, 2, 4, 8)}, []schemas.Durability{d10, d11, d12, d42}},
}

// meanDeviations averages the deviations d of the nodes with the same weight and zone. It
// returns the smallest and the largest of these means. Averaging reduces random deviations.
func meanDeviations(m *schemas.NodeMap, d []float64) (least, largest float64) {
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
	t := newTable("nodes", "durability", "emptiest kind of node", "fullest kind of node")
	for _, b := range biases {
		m := b.nodeMap()
		for _, d := range b.sets {
			least, most := meanDeviations(m, deviations(m, countParts(m, manyChunks, d.Nodes())))
			t.row(b.name, d.String(), fmt.Sprintf("%+.1f %%", 100*least), fmt.Sprintf("%+.1f %%", 100*most))
		}
	}
	return t.String()
}

func movesTable() string {
	const chunks = 50_000
	t := newTable("change", "durability", "moved", "least possible", "ratio")
	for _, c := range changes {
		for _, d := range c.sets {
			after := c.before.nodeMap()
			c.apply(after)
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
		"4 TB of flash", "4 TB of flash, 10 Gbit/s", "4 TB, heal rate 20 MB/s")
	for _, nodes := range []int{6, 12, 100, 1000} {
		for _, d := range []schemas.Durability{d11, d42, d83} {
			if nodes <= d.Nodes() {
				continue
			}
			row := []string{count(float64(nodes)), d.String()}
			for _, size := range []float64{1, 4, 20, 100} {
				s := defaultSite()
				s.nodes, s.size = nodes, size*tB
				row = append(row, healCell(s, d))
			}
			s := defaultSite()
			s.nodes = nodes
			flash, fast, slow := s.withFlash(), s.withFlash(), s
			fast.network, slow.healRate = 10*gbit, 20*mB
			t.row(append(row, healCell(flash, d), healCell(fast, d), healCell(slow, d))...)
		}
	}
	return t.String()
}

func healCell(s site, d schemas.Durability) string {
	seconds, _ := s.healingTime(d)
	return duration(seconds)
}

func healLimitsTable() string {
	t := newTable("nodes", "durability", "hard disks, 1 Gbit/s", "flash, 1 Gbit/s", "flash, 10 Gbit/s", "flash, 10 Gbit/s, 30 NATS servers")
	for _, nodes := range []int{12, 100, 1000} {
		for _, d := range []schemas.Durability{d11, d42} {
			hard := defaultSite()
			hard.nodes = nodes
			flash := hard.withFlash()
			fast := flash
			fast.network = 10 * gbit
			many := fast
			many.servers = 30
			row := []string{count(float64(nodes)), d.String()}
			for _, s := range []site{hard, flash, fast, many} {
				_, limit := s.healingTime(d)
				row = append(row, limit)
			}
			t.row(row...)
		}
	}
	return t.String()
}

// compared are the durabilities in the tables and the plot of losses.
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
			s := defaultSite()
			s.nodes = nodes
			cell := "–"
			if nodes >= d.Nodes() {
				cell = chance(s.lossChance(d))
			}
			row = append(row, cell)
		}
		t.row(row...)
	}
	return t.String()
}

func combinationsTable() string {
	t := newTable("nodes", "durability", "chunks, if full", "mean chunks on the same m+1 nodes")
	for _, nodes := range []int{12, 100, 1000} {
		for _, d := range []schemas.Durability{d11, d12, d42, d83} {
			s := defaultSite()
			s.nodes = nodes
			r := risk{nodes: nodes, parts: d.Nodes(), margin: int(d.M), chunks: s.chunks(d)}
			same := fmt.Sprintf("%.2g", r.chunks*r.chunkChance())
			if r.chunks*r.chunkChance() >= 1 {
				same = rough(r.chunks * r.chunkChance())
			}
			t.row(count(float64(nodes)), d.String(), rough(r.chunks), same)
		}
	}
	return t.String()
}

// mostPerZone returns the most parts of one chunk that are in the same zone, over 2,000
// chunks of n parts.
func mostPerZone(c cluster, n int) int {
	m := c.nodeMap()
	most := make([]int, workers)
	forEachSet(m, 2000, n, func(w, _ int, set []int) {
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
			margin := int(d.M) - mostPerZone(cluster{nodes: 24, zones: zones}, d.Nodes())
			cell := "loses data"
			if margin == 0 {
				cell = "survives"
			} else if margin > 0 {
				cell = fmt.Sprintf("survives, and %d more", margin)
			}
			row = append(row, cell)
		}
		t.row(row...)
	}
	return t.String()
}
