package main

import (
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A chart is a bar plot of all peers, grouped by data set. The bar is the median of the
// rounds, and a line on it goes from the minimum to the maximum.
type chart struct {
	name, title, unit string
	phase             string
	value             measure
	scale             float64 // factor from the measure to the unit
}

// charts lists all charts of "bench report".
var charts = []chart{
	{"first", "First backup", "seconds", phaseFirst, wallOf, 1},
	{"unchanged", "Backup without changes", "seconds", phaseUnchanged, wallOf, 1},
	{"mutated", "Backup after 1 % has changed", "seconds", phaseMutated, wallOf, 1},
	{"restore", "Restore", "seconds", phaseRestore, wallOf, 1},
	{"cpu-first", "CPU of all processes, first backup", "CPU seconds", phaseFirst, cpuOfAll, 1},
	{"cpu-restore", "CPU of all processes, restore", "CPU seconds", phaseRestore, cpuOfAll, 1},
	{"memory-first", "Peak memory of all processes, first backup", "MiB", phaseFirst,
		func(r row) float64 { return r.clientMem + r.serverMem }, 1},
	{"stored", "Disk space in use after the first backup", "MiB", phaseFirst, storedOf, 1.0 / mib},
}

// colors has the colour of each peer, in the order of peers. Our peers are blue. People
// with colour blindness can tell the colours apart.
var colors = []color.RGBA{
	{0x00, 0x44, 0x88, 0xff}, {0x33, 0x77, 0xbb, 0xff}, {0x77, 0xaa, 0xdd, 0xff},
	{0x99, 0x99, 0x99, 0xff}, {0x55, 0x55, 0x55, 0xff},
	{0xd5, 0x5e, 0x00, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff},
	{0xcc, 0x79, 0xa7, 0xff}, {0x66, 0xcc, 0x99, 0xff}, {0xf0, 0xe4, 0x42, 0xff},
}

// colorOf returns the colour of a peer, which is the same in all plots.
func colorOf(peer string) color.Color {
	for i, p := range peers {
		if p.name == peer {
			return colors[i%len(colors)]
		}
	}
	return color.Black
}

// plot writes all charts with data into the folder dir and returns their file names.
func (s *summary) plot(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var names []string
	for _, c := range charts {
		p := s.draw(c)
		if p == nil {
			continue
		}
		name := c.name + ".svg"
		width := axisWidth + s.groupWidth()*vg.Length(len(s.sets)) + legendWidth
		if err := p.Save(width, 4*vg.Inch, filepath.Join(dir, name)); err != nil {
			return names, err
		}
		names = append(names, name)
	}
	return names, nil
}

// Widths of the parts of a plot.
const (
	axisWidth   = 0.9 * vg.Inch
	legendWidth = 1.9 * vg.Inch
	barWidth    = 0.13 * vg.Inch
)

// groupWidth returns the width of the bars of one set and the gap next to them.
func (s *summary) groupWidth() vg.Length { return barWidth * vg.Length(len(s.peers)+1) }

// draw draws a chart, or returns nil if it has no data. The value axis is logarithmic,
// because the values differ by powers of ten.
func (s *summary) draw(c chart) *plot.Plot {
	p := plot.New()
	p.Title.Text = c.title
	p.Y.Label.Text = c.unit
	p.Y.Scale = plot.LogScale{}
	p.Y.Tick.Marker = decades{}
	p.Legend.Top, p.Legend.Padding, p.Legend.ThumbnailWidth = true, 2, 0.15*vg.Inch
	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	p.Add(grid)
	low, found := math.Inf(1), false
	step := 1 / float64(len(s.peers)+1)
	for i, peer := range s.peers {
		b := &bars{width: step, color: colorOf(peer)}
		for group, set := range s.sets {
			v := s.median(set, peer, c.phase, c.value) * c.scale
			if v <= 0 {
				continue
			}
			low, found = min(low, v), true
			middle := float64(group) + (float64(i)+0.5-float64(len(s.peers))/2)*step
			b.points = append(b.points, plotter.XY{X: middle, Y: v})
			all := s.values(set, peer, c.phase, c.value)
			b.spread = append(b.spread, [2]float64{slices.Min(all) * c.scale, slices.Max(all) * c.scale})
		}
		if len(b.points) > 0 {
			p.Add(b)
			p.Legend.Add(peer, b)
		}
	}
	if !found {
		return nil
	}
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(low)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(p.Y.Max*1.01)))
	p.X.Min, p.X.Max = -0.5, float64(len(s.sets))-0.5+float64(legendWidth/s.groupWidth())
	p.NominalX(s.sets...)
	return p
}

// bars are the bars of one peer in a chart. The bars of package plotter start at zero,
// which a logarithmic axis does not have.
type bars struct {
	width  float64 // in units of the X axis
	color  color.Color
	points plotter.XYs  // middle and height of each bar
	spread [][2]float64 // minimum and maximum of the rounds, for each bar
}

// Plot implements [plot.Plotter]. The bars start at the bottom of the plot.
func (b *bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for i, point := range b.points {
		left, right := x(point.X-b.width/2), x(point.X+b.width/2)
		bottom, top := c.Min.Y, y(point.Y)
		c.FillPolygon(b.color, []vg.Point{{X: left, Y: bottom}, {X: right, Y: bottom}, {X: right, Y: top}, {X: left, Y: top}})
		if s := b.spread[i]; s[0] > 0 && s[0] < s[1] {
			c.StrokeLine2(plotter.DefaultLineStyle, x(point.X), y(s[0]), x(point.X), y(s[1]))
		}
	}
}

// DataRange implements [plot.DataRanger].
func (b *bars) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax, ymin, ymax = plotter.XYRange(b.points)
	for _, s := range b.spread {
		ymax = max(ymax, s[1])
	}
	return xmin, xmax, ymin, ymax
}

// Thumbnail implements [plot.Thumbnailer]: it draws a box of the bars' colour.
func (b *bars) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(b.color, []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}})
}

// decades labels the powers of ten on an axis, and marks 2 to 9 times each without a label.
type decades struct{}

// Ticks implements [plot.Ticker].
func (decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for d := math.Pow(10, math.Floor(math.Log10(low))); d <= high*1.001; d *= 10 {
		ticks = append(ticks, plot.Tick{Value: d, Label: powerOfTen(d)})
		for k := 2.0; k < 10 && k*d < high; k++ {
			ticks = append(ticks, plot.Tick{Value: k * d})
		}
	}
	return ticks
}

// powerOfTen formats a power of ten without an exponent.
func powerOfTen(v float64) string {
	return strconv.FormatFloat(v, 'f', max(0, int(-math.Round(math.Log10(v)))), 64)
}
