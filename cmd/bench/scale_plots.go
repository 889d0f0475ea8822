package main

import (
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// A curve is a line plot of a scenario. The X axis is the quantity that grows.
type curve struct {
	scenario, name, title, unit string
	lines                       []curveLine
}

// A curveLine is one line of a curve: a value of the points of one step.
type curveLine struct {
	label, step string
	value       func(point) float64
}

// cpuOfPoint returns the CPU time of all processes.
func cpuOfPoint(p point) float64 { return p.clientCPU + p.serverCPU }

// curves lists all curves of "bench report-scale".
var curves = []curve{
	{"versions", "scale-versions-time", "Backup of one more version, 1 % changed", "seconds", []curveLine{
		{"time", stepRepeat, func(p point) float64 { return p.wall }},
		{"CPU of all", stepRepeat, cpuOfPoint},
	}},
	{"versions", "scale-versions-sent", "Sent for one more version, 1 % changed", "MiB", []curveLine{
		{"sent", stepRepeat, func(p point) float64 { return p.sent / mib }},
	}},
	{"versions", "scale-versions-stored", "Disk space of all versions", "MiB", []curveLine{
		{"stored", stepRepeat, func(p point) float64 { return p.stored / mib }},
	}},
	{"nodes", "scale-nodes-cpu", "CPU of all processes for the same data", "CPU seconds", []curveLine{
		{phaseFirst, phaseFirst, cpuOfPoint},
		{phaseRestore, phaseRestore, cpuOfPoint},
	}},
}

// plot writes all curves with at least two points into the folder dir and returns their file
// names.
func (s *scaleSummary) plot(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var names []string
	for _, c := range curves {
		p, err := s.draw(c)
		if err != nil {
			return names, err
		}
		if p == nil {
			continue
		}
		name := c.name + ".svg"
		if err := p.Save(6.5*vg.Inch, 3.5*vg.Inch, filepath.Join(dir, name)); err != nil {
			return names, err
		}
		names = append(names, name)
	}
	return names, nil
}

// draw draws a curve with a value axis from zero, or returns nil if it has too few points.
func (s *scaleSummary) draw(c curve) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.Y.Label.Text = c.title, c.unit
	for _, sc := range scenarios {
		if sc.name == c.scenario {
			p.X.Label.Text = sc.x
		}
	}
	p.Legend.Padding = 2
	p.Add(plotter.NewGrid())
	found := false
	for i, l := range c.lines {
		xys := smooth(s.pointsOf(c.scenario, l.step), l.value)
		if len(xys) < 2 {
			continue
		}
		line, err := plotter.NewLine(xys)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = []color.Color{colors[0], colors[5]}[i], 1.2*vg.Points(1)
		p.Add(line)
		p.Legend.Add(l.label, line)
		found = true
	}
	if !found {
		return nil, nil
	}
	p.Y.Min, p.Y.Max = 0, p.Y.Max*1.1
	return p, nil
}

// smooth reduces the points to at most 100. Each result is the median of a group of
// neighbours.
func smooth(points []point, value func(point) float64) plotter.XYs {
	const most = 100
	group := (len(points) + most - 1) / most
	var xys plotter.XYs
	for start := 0; start < len(points); start += group {
		neighbours := points[start:min(start+group, len(points))]
		xys = append(xys, plotter.XY{X: neighbours[len(neighbours)/2].x, Y: medianOf(neighbours, value)})
	}
	return xys
}
