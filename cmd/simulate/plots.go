package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"servidor-backup/schemas"
)

// A series is one line of a plot.
type series struct {
	label  string
	points plotter.XYs
	dashed bool // a dashed line has the colour of the line before it
}

// colors are the colours of lines. People with colour blindness can tell them apart.
var colors = []color.RGBA{
	{0x00, 0x44, 0x88, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff},
	{0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x55, 0x55, 0x55, 0xff},
}

// drawLines writes the plot dir/name.svg. Both of its axes are logarithmic.
func drawLines(dir, name, title, x, y string, lines []series) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = decades{}, decades{}
	p.Legend.Top, p.Legend.Padding, p.Legend.ThumbnailWidth = true, 2, 0.25*vg.Inch
	p.Add(plotter.NewGrid())
	next := -1
	for _, s := range lines {
		line, err := plotter.NewLine(s.points)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", name, s.label, err)
		}
		if s.dashed {
			line.Dashes = []vg.Length{vg.Points(3), vg.Points(3)}
		} else {
			next++
		}
		line.Color, line.Width = colors[next%len(colors)], vg.Points(1.2)
		p.Add(line)
		if s.label != "" {
			p.Legend.Add(s.label, line)
		}
	}
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(p.Y.Min)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(p.Y.Max)))
	// The legend stands to the right of the lines.
	p.X.Max *= math.Pow(p.X.Max/p.X.Min, 0.24)
	p.Legend.XOffs = -vg.Points(4)
	return p.Save(6.5*vg.Inch, 4*vg.Inch, filepath.Join(dir, name+".svg"))
}

// decades marks the powers of ten on an axis. On a long axis only some have a label.
type decades struct{}

// Ticks implements [plot.Ticker].
func (decades) Ticks(low, high float64) (ticks []plot.Tick) {
	first, last := int(math.Round(math.Log10(low))), int(math.Floor(math.Log10(high)+1e-9))
	step := 1 + (last-first)/8
	for e := first; e <= last; e++ {
		tick := plot.Tick{Value: math.Pow(10, float64(e))}
		if (last-e)%step == 0 {
			tick.Label = powerOfTen(e)
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

// powerOfTen formats ten to the power of e: in full if the number is short.
func powerOfTen(e int) string {
	if e < -4 || e > 6 {
		return "1e" + strconv.Itoa(e)
	}
	if e >= 3 {
		return count(math.Pow(10, float64(e)))
	}
	return strconv.FormatFloat(math.Pow(10, float64(e)), 'f', max(0, -e), 64)
}

func drawBalance(dir string) error {
	var lines []series
	for _, nodes := range []int{6, 100, 1000} {
		m := cluster{nodes: nodes}.nodeMap()
		found := series{label: fmt.Sprintf("%s nodes", count(float64(nodes)))}
		limit := series{dashed: true}
		for _, chunks := range []int{1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000} {
			x, n := float64(chunks), d12.Nodes()
			found.points = append(found.points, plotter.XY{X: x, Y: 100 * largestDeviation(deviations(m, countParts(m, chunks, n)))})
			limit.points = append(limit.points, plotter.XY{X: x, Y: 100 * randomLimit(nodes) * standardDeviation(nodes, n, chunks)})
		}
		lines = append(lines, found, limit)
	}
	goal := series{label: "goal: 5 %", points: plotter.XYs{{X: 1000, Y: 5}, {X: 1_000_000, Y: 5}}}
	return drawLines(dir, "simulate-balance", "Largest deviation of a node from its share, 1+2 (dashed: limit)",
		"chunks", "% of the share", append(lines, goal))
}

func drawCosts(dir string, costs []cost) error {
	var lines []series
	for _, n := range costSizes.sets {
		s := series{label: fmt.Sprintf("set of %d", n)}
		for _, c := range costs {
			if c.n == n {
				s.points = append(s.points, plotter.XY{X: float64(c.nodes), Y: c.took.Seconds() * 1e6})
			}
		}
		lines = append(lines, s)
	}
	return drawLines(dir, "simulate-cost", "Time to place a chunk", "nodes", "µs per chunk", lines)
}

// nodeCounts returns the numbers of nodes of a curve, up to 10,000. The first is one more
// than a chunk has parts.
func nodeCounts(d schemas.Durability) (all []int) {
	for e := 0.3; e < 4.01; e += 0.05 {
		n := int(math.Round(math.Pow(10, e)))
		if n > d.Nodes() && (len(all) == 0 || n > all[len(all)-1]) {
			all = append(all, n)
		}
	}
	return all
}

func drawHealing(dir string) error {
	var lines []series
	for _, size := range []float64{1, 4, 20, 100} {
		for _, d := range []schemas.Durability{d42, d11} {
			line := series{dashed: d == d11}
			if !line.dashed {
				line.label = fmt.Sprintf("%.0f TB", size)
			}
			for _, n := range nodeCounts(d) {
				s := defaultSite()
				s.nodes, s.size = n, size*tB
				seconds, _ := s.healingTime(d)
				line.points = append(line.points, plotter.XY{X: float64(n), Y: seconds / 3600})
			}
			lines = append(lines, line)
		}
	}
	return drawLines(dir, "simulate-heal", "Time to heal a lost node, 4+2 (dashed: 1+1), hard disks, 1 Gbit/s",
		"nodes", "hours", lines)
}

func drawLoss(dir string) error {
	var lines []series
	for _, d := range compared {
		line := series{label: d.String()}
		for _, n := range nodeCounts(d) {
			s := defaultSite()
			s.nodes = n
			line.points = append(line.points, plotter.XY{X: float64(n), Y: s.lossChance(d)})
		}
		lines = append(lines, line)
	}
	return drawLines(dir, "simulate-loss", "Chance of losing any chunk within a year, nodes of 4 TB",
		"nodes", "chance", lines)
}
