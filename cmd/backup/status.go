package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Aliases: []string{"estado"},
		Short:   a.t("status.short"),
		Long:    a.t("status.long"),
		Args:    a.takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context()) },
	}
}

// condition is what the nodes say, added up.
type condition struct {
	levels []schemas.Level // the least spare first
	strays int64
	toHeal int64
	healed int64
	bytes  int64         // of what was healed
	left   time.Duration // until all is; 0 if nobody knows
	// surveyed: every node that can be reached has looked at all it holds under this
	// map, so that the levels are the whole truth.
	surveyed bool
	waiting  []string
	// short are the durabilities that more nodes would be needed for.
	short []schemas.Durability
	homes int  // nodes at which chunks are at home
	down  bool // nodes are down, whose places are kept
}

func conditionOf(s *schemas.StatusReply) condition {
	c := condition{surveyed: true, homes: placement.NewAssigned(s.Map).Len()}
	sums := map[schemas.Level]int64{}
	answered := map[schemas.NodeID]bool{}
	for i := range s.Nodes {
		v := &s.Nodes[i].Survey
		answered[s.Nodes[i].Node.ID] = v.Ended > 0 && !v.Running && v.Epoch == s.Map.Epoch
		for _, l := range v.Levels {
			chunks := l.Chunks
			l.Chunks = 0
			sums[l] += chunks
		}
		c.strays += v.Misplaced
		c.toHeal += v.ToHeal
		c.healed += v.Healed
		c.bytes += v.Bytes
		c.left = max(c.left, time.Duration(v.Left))
		if v.Waiting != "" {
			c.waiting = append(c.waiting, s.Nodes[i].Node.Name+": "+v.Waiting)
		}
	}
	for _, n := range s.Map.Nodes {
		c.surveyed = c.surveyed && (answered[n.ID] || !n.State.Reachable())
		c.down = c.down || n.State == schemas.Down
	}
	for l, chunks := range sums {
		l.Chunks = chunks
		c.levels = append(c.levels, l)
		if d := l.Durability; d.Nodes() > c.homes && !slices.Contains(c.short, d) {
			c.short = append(c.short, d)
		}
	}
	slices.SortFunc(c.short, func(x, y schemas.Durability) int { return cmp.Compare(x.Nodes(), y.Nodes()) })
	slices.SortFunc(c.levels, func(x, y schemas.Level) int {
		return cmp.Or(cmp.Compare(x.Margin, y.Margin), cmp.Compare(x.Durability.K, y.Durability.K), cmp.Compare(x.Durability.M, y.Durability.M))
	})
	return c
}

// whole reports whether everything is as it should be.
func (c *condition) whole() bool {
	return c.surveyed && c.toHeal == 0 && c.strays == 0 &&
		!slices.ContainsFunc(c.levels, func(l schemas.Level) bool { return levelState(l) != "whole" })
}

// jsonStatus is what --json prints.
type jsonStatus struct {
	// Whole: every chunk is where it belongs, as often as it should be.
	Whole      bool            `json:"whole"`
	Surveyed   bool            `json:"surveyed"`
	Epoch      uint64          `json:"epoch"`
	Nodes      []jsonNode      `json:"nodes"`
	Levels     []jsonLevel     `json:"levels"`
	Strays     int64           `json:"strays"`
	ToHeal     int64           `json:"to_heal"`
	Healed     int64           `json:"healed"`
	Bytes      int64           `json:"healed_bytes"`
	Left       float64         `json:"seconds_left,omitempty"`
	Waiting    []string        `json:"waiting,omitempty"`
	Lost       []jsonLost      `json:"lost,omitempty"`
	LostMore   bool            `json:"lost_more,omitempty"` // than lost says
	Collection *jsonCollection `json:"collection,omitempty"`
	Scrubs     []jsonScrub     `json:"scrubs"`
}

type jsonLevel struct {
	Durability string `json:"durability"`
	State      string `json:"state"` // whole, endangered, lost
	Spare      int    `json:"spare"` // how many more nodes can be lost
	Chunks     int64  `json:"chunks"`
}

type jsonLost struct {
	Nickname string `json:"nickname"`
	Version  string `json:"version"`
	Chunks   int64  `json:"chunks"`
}

type jsonScrub struct {
	Node    string  `json:"node"`
	Running bool    `json:"running"`
	Done    float64 `json:"done"`
	Ended   string  `json:"ended,omitempty"`
	Found   int64   `json:"found"`
}

// levelState is the state of chunks in a word that does not change.
func levelState(l schemas.Level) string {
	switch {
	case l.Margin < 0:
		return "lost"
	case l.Margin < int(l.Durability.M):
		return "endangered"
	}
	return "whole"
}

func (a *app) status(ctx context.Context) error {
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	s, err := b.Status(ctx)
	if err != nil {
		return err
	}
	c := conditionOf(s)
	if a.flags.json {
		return a.printJSON(statusJSON(s, &c))
	}
	a.nodeTable(s.Map.Nodes).print(a.println)
	a.println("")
	if len(c.levels) > 0 {
		t := newTable(a.t("status.durability"), a.t("status.state"), ">"+a.t("status.chunks"))
		for _, l := range c.levels {
			t.add(l.Durability.String(), a.levelText(l), a.number(l.Chunks))
		}
		t.print(a.println)
		a.println("")
	}
	a.printCondition(&c)
	for _, l := range s.Lost {
		a.println(a.n("status.lost-version", l.Chunks, "ID", a.show(l.Version), "Nickname", a.show(l.Nickname)))
	}
	if s.LostMore {
		a.println(a.t("status.lost-more"))
	}
	if len(s.Lost) > 0 {
		a.println(a.t("status.lost-hint"))
	}
	for i := range s.Nodes {
		a.printScrub(&s.Nodes[i])
	}
	if s.Collection.Ended > 0 && s.Collection.Error == "" {
		a.println(a.t("status.collection", "When", a.when(s.Collection.Ended), "Text", a.collection(&s.Collection)))
	} else if s.Collection.Error != "" {
		a.println(a.t("gc.failed", "Text", s.Collection.Error))
	}
	return nil
}

func (a *app) levelText(l schemas.Level) string {
	switch levelState(l) {
	case "lost":
		return a.t("status.lost")
	case "endangered":
		return a.n("status.endangered", int64(l.Margin))
	}
	return a.t("status.whole")
}

// printCondition says what it all means.
func (a *app) printCondition(c *condition) {
	switch {
	case c.whole():
		a.println(a.t("status.all-whole"))
	case !c.surveyed:
		a.println(a.t("status.not-surveyed"))
	}
	if left := c.toHeal; left > 0 {
		a.println(a.n("status.healing", left, "Healed", a.number(c.healed), "Bytes", a.size(c.bytes)))
	}
	if c.left > 0 {
		a.println(a.t("status.left", "Time", a.took(c.left)))
	}
	for _, d := range c.short {
		a.println(a.n("status.too-few", int64(d.Nodes()-c.homes), "Durability", d.String(), "Wanted", a.number(int64(d.Nodes())), "Nodes", a.number(int64(c.homes))))
	}
	if c.strays > 0 {
		a.println(a.n("status.strays", c.strays))
	}
	for _, w := range c.waiting {
		a.println(a.t("status.waiting", "Text", w))
	}
	if c.down && c.surveyed && !c.whole() {
		a.println(a.t("status.down"))
	}
}

func (a *app) printScrub(n *schemas.NodeStatus) {
	switch s := &n.Scrub; {
	case s.Found > 0:
		a.println(a.n("status.scrub-found", s.Found, "Node", a.show(n.Node.Name)))
	case s.Running:
		a.println(a.t("status.scrub-running", "Node", a.show(n.Node.Name), "Percent", a.number(int64(100*s.Done))))
	}
}

func statusJSON(s *schemas.StatusReply, c *condition) *jsonStatus {
	out := &jsonStatus{
		Whole: c.whole(), Surveyed: c.surveyed, Epoch: s.Map.Epoch, Strays: c.strays, ToHeal: c.toHeal, Healed: c.healed,
		Bytes: c.bytes, Left: c.left.Seconds(), Waiting: c.waiting, LostMore: s.LostMore, Collection: collectionJSON(&s.Collection),
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

func newScrub(a *app) *cobra.Command {
	var now bool
	cmd := &cobra.Command{
		Use:     "scrub " + a.t("scrub.args"),
		Aliases: []string{"reler"},
		Short:   a.t("scrub.short"),
		Long:    a.t("scrub.long"),
		Args:    a.takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if now {
				return a.scrub(cmd.Context(), argument(args, 0))
			}
			return a.scrubs(cmd.Context(), argument(args, 0))
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, a.t("scrub.flag-now"))
	return cmd
}

// scrubs shows how far one node, or each, has come with reading everything back.
func (a *app) scrubs(ctx context.Context, node string) error {
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	s, err := b.Status(ctx)
	if err != nil {
		return err
	}
	t := newTable(a.t("nodes.name"), a.t("scrub.ended"), a.t("scrub.running"), ">"+a.t("scrub.found"))
	none := true
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if node != "" && node != n.Node.Name && node != string(n.Node.ID) {
			continue
		}
		none = false
		if a.flags.json {
			if err := a.printJSON(scrubJSON(n)); err != nil {
				return err
			}
			continue
		}
		ended, running := "-", "-"
		if n.Scrub.Ended > 0 {
			ended = a.when(n.Scrub.Ended)
		}
		if n.Scrub.Running {
			running = a.t("scrub.percent", "Percent", a.number(int64(100*n.Scrub.Done)))
		}
		t.add(a.show(n.Node.Name), ended, running, a.number(n.Scrub.Found))
	}
	if none && node != "" {
		return schemas.Errorf(schemas.UnknownNode, "no storage node that can be reached is called %q", node)
	}
	if !a.flags.json {
		t.print(a.println)
	}
	return nil
}

func scrubJSON(n *schemas.NodeStatus) jsonScrub {
	j := jsonScrub{Node: n.Node.Name, Running: n.Scrub.Running, Done: n.Scrub.Done, Found: n.Scrub.Found}
	if n.Scrub.Ended > 0 {
		j.Ended = stamp(n.Scrub.Ended)
	}
	return j
}

// scrub starts a scrub at one node, or at all.
func (a *app) scrub(ctx context.Context, node string) error {
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	names, err := b.Scrub(ctx, node)
	if err != nil {
		return err
	}
	for _, name := range names {
		if a.flags.json {
			if err := a.printJSON(jsonScrub{Node: name, Running: true}); err != nil {
				return err
			}
			continue
		}
		a.println(a.t("scrub.started", "Node", a.show(name)))
	}
	return nil
}
