package main

import (
	"context"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Aliases: []string{"estado"},
		Short:   a.t("status.short"),
		Long:    a.t("status.long"),
		Args:    a.takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runStatus(cmd.Context(), a) },
	}
}

// runStatus prints nodes, chunks, healing, damage and the last collection.
func runStatus(ctx context.Context, a *app) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	status, err := s.Status(ctx)
	if err != nil {
		return err
	}
	c := conditionOf(status)
	if a.json {
		if err := a.printJSON(statusJSON(status, &c)); err != nil {
			return err
		}
	} else {
		printStatus(a.console, status, &c)
	}
	return a.verdict(status, &c)
}

// verdict is the error that makes a program notice that data is lost or endangered; nil
// if it is neither, as far as the nodes have looked.
func (x *texts) verdict(s *schemas.StatusReply, c *condition) error {
	switch {
	case len(s.Lost) > 0 || s.LostMore || c.has(levelLost):
		return &failure{exit: exitEndangered, code: "lost", text: x.t("status.error-lost"), hint: x.t("status.lost-hint")}
	case c.has(levelEndangered):
		return &failure{exit: exitEndangered, code: "endangered", text: x.t("status.error-endangered")}
	}
	return nil
}

func printStatus(c *console, s *schemas.StatusReply, sum *condition) {
	nodeTable(c, s.Map.Nodes).print(c.row)
	c.println("")
	if len(sum.levels) > 0 {
		t := newTable(c.t("status.durability"), c.t("status.state"), ">"+c.t("status.chunks"))
		for _, l := range sum.levels {
			t.add(l.Durability.String(), levelText(c.texts, l), c.number(l.Chunks))
			c.mark(t, levelColors[levelState(l)])
		}
		t.print(c.row)
		c.println("")
	}
	printCondition(c, sum)
	printLost(c, s)
	for i := range s.Nodes {
		printScrub(c, &s.Nodes[i])
	}
	if s.Collection.Ended > 0 && s.Collection.Error == "" {
		c.println(c.t("status.collection", "When", c.when(s.Collection.Ended), "Text", collectionText(c.texts, &s.Collection)))
	} else if s.Collection.Error != "" {
		c.println(c.t("gc.failed", "Text", s.Collection.Error))
	}
}

var levelColors = map[string]color{levelEndangered: yellow, levelLost: red}

func levelText(x *texts, l schemas.Level) string {
	switch levelState(l) {
	case levelLost:
		return x.t("status.lost")
	case levelEndangered:
		if l.Margin == 0 {
			return x.t("status.endangered-most")
		}
		return x.n("status.endangered", int64(l.Margin))
	}
	return x.t("status.intact")
}

// printCondition explains the condition.
func printCondition(c *console, sum *condition) {
	switch {
	case sum.intact():
		c.println(c.t("status.all-intact"))
	case !sum.surveyed:
		c.println(c.t("status.not-surveyed"))
	}
	if n := sum.toHeal; n > 0 {
		c.println(c.n("status.healing", n, "Healed", c.number(sum.healed), "Bytes", c.size(sum.bytes)))
	}
	if sum.left > 0 {
		c.println(c.t("status.left", "Time", c.took(sum.left)))
	}
	for _, d := range sum.needsNodes {
		c.println(c.n("status.needs-nodes", int64(d.Nodes()-sum.assignable), "Durability", d.String(),
			"Wanted", c.number(int64(d.Nodes())), "Nodes", c.number(int64(sum.assignable))))
	}
	if sum.misplaced > 0 {
		c.println(c.n("status.misplaced", sum.misplaced))
	}
	for _, w := range sum.waiting {
		c.println(c.t("status.waiting", "Text", w))
	}
	if sum.down && sum.surveyed && !sum.intact() {
		c.println(c.t("status.down"))
	}
}

// printLost prints the versions that miss chunks.
func printLost(c *console, s *schemas.StatusReply) {
	for _, l := range s.Lost {
		c.println(c.alarm(red, c.n("status.lost-version", l.Chunks, "ID", c.show(l.Version), "Nickname", c.show(l.Nickname))))
	}
	if s.LostMore {
		c.println(c.alarm(red, c.t("status.lost-more")))
	}
}

func printScrub(c *console, n *schemas.NodeStatus) {
	switch s := &n.Scrub; {
	case s.Found > 0:
		c.println(c.alarm(red, c.n("status.scrub-found", s.Found, "Node", c.show(n.Node.Name))))
	case s.Running:
		c.println(c.t("status.scrub-running", "Node", c.show(n.Node.Name), "Percent", c.number(int64(100*s.Done))))
	}
}

// jsonStatus is the JSON of the status.
type jsonStatus struct {
	// Intact: every chunk has all its replicas, and every replica is in its place.
	Intact     bool            `json:"intact"`
	Surveyed   bool            `json:"surveyed"`
	Epoch      uint64          `json:"epoch"`
	Nodes      []jsonNode      `json:"nodes"`
	Levels     []jsonLevel     `json:"levels"`
	Misplaced  int64           `json:"misplaced"`
	ToHeal     int64           `json:"to_heal"`
	Healed     int64           `json:"healed"`
	Bytes      int64           `json:"healed_bytes"`
	Left       float64         `json:"seconds_left,omitempty"`
	Waiting    []string        `json:"waiting,omitempty"`
	Lost       []jsonLost      `json:"lost,omitempty"`
	LostMore   bool            `json:"lost_more,omitempty"` // there may be more than lost lists
	Collection *jsonCollection `json:"collection,omitempty"`
	Scrubs     []jsonScrub     `json:"scrubs"`
}

type jsonLevel struct {
	Durability string `json:"durability"`
	State      string `json:"state"`  // intact, endangered, lost
	Margin     int    `json:"margin"` // how many more nodes may be lost
	Chunks     int64  `json:"chunks"`
}

type jsonLost struct {
	Nickname string `json:"nickname"`
	Version  string `json:"version"`
	Chunks   int64  `json:"chunks"`
}

func statusJSON(s *schemas.StatusReply, c *condition) *jsonStatus {
	out := &jsonStatus{
		Intact: c.intact(), Surveyed: c.surveyed, Epoch: s.Map.Epoch, Misplaced: c.misplaced,
		ToHeal: c.toHeal, Healed: c.healed, Bytes: c.bytes, Left: c.left.Seconds(), Waiting: c.waiting,
		LostMore: s.LostMore, Collection: collectionJSON(&s.Collection),
		Nodes: []jsonNode{}, Levels: []jsonLevel{}, Scrubs: []jsonScrub{},
	}
	for i := range s.Map.Nodes {
		out.Nodes = append(out.Nodes, nodeJSON(&s.Map.Nodes[i]))
	}
	for _, l := range c.levels {
		out.Levels = append(out.Levels, jsonLevel{l.Durability.String(), levelState(l), l.Margin, l.Chunks})
	}
	for _, l := range s.Lost {
		out.Lost = append(out.Lost, jsonLost(l))
	}
	for i := range s.Nodes {
		out.Scrubs = append(out.Scrubs, scrubJSON(&s.Nodes[i]))
	}
	return out
}
