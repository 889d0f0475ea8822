package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/client"
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
	a.settle = surveyEvery
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	status, c, err := surveyedStatus(ctx, a, s)
	if err != nil {
		return err
	}
	newest, err := newestRecord(ctx, s)
	if err != nil {
		return err
	}
	if a.json {
		if err := a.printJSON(statusJSON(status, &c, newest)); err != nil {
			return err
		}
	} else {
		printStatus(a.console, status, &c)
		printServers(a.console, status)
		if newest != nil {
			a.println(a.t("status.newest", "Nickname", a.show(s.settings.Nickname.Value),
				"ID", a.show(schemas.VersionID(newest.Name, newest.Latest)), "When", a.when(newest.Created)))
		}
	}
	return verdict(a.texts, status, &c)
}

// How long status waits for the nodes to have surveyed what they hold: in a system of
// servers, that they have just started; in one that runs inside the command, all of it, since
// it would never end otherwise.
const (
	surveyTime      = 3 * time.Second
	localSurveyTime = 10 * time.Minute
	surveyEvery     = 100 * time.Millisecond
)

// surveyedStatus asks for the status until the nodes have surveyed what they hold, within
// limits.
func surveyedStatus(ctx context.Context, a *app, s *session) (*schemas.StatusReply, condition, error) {
	limit := surveyTime
	if a.local != nil {
		limit = localSurveyTime
	}
	for begin := time.Now(); ; {
		status, err := s.Status(ctx)
		if err != nil {
			return nil, condition{}, err
		}
		c := conditionOf(status)
		if c.surveyed || time.Since(begin) > limit {
			a.status("")
			return status, c, nil
		}
		if time.Since(begin) > time.Second {
			a.status(a.t("status.surveying"))
		}
		select {
		case <-ctx.Done():
			return nil, condition{}, ctx.Err()
		case <-time.After(surveyEvery):
		}
	}
}

// newestRecord is the nickname's record with the newest version; nil if there is none.
func newestRecord(ctx context.Context, s *session) (newest *schemas.Record, err error) {
	records, err := s.Records(ctx, client.ListOptions{})
	for i := range records {
		if newest == nil || records[i].Created > newest.Created {
			newest = &records[i]
		}
	}
	return newest, err
}

// printServers prints how many coordinators there are, and which servers hold the catalogue.
func printServers(c *console, s *schemas.StatusReply) {
	if len(s.Coordinators) > 0 {
		c.println(c.n("status.coordinators", int64(len(s.Coordinators))))
	}
	if len(s.Servers) == 0 {
		return
	}
	t := newTable(c.t("status.server"), c.t("status.state"))
	current := 0
	for _, server := range s.Servers {
		switch {
		case !server.Current:
			t.add(c.show(server.Name), c.t("status.server-behind"))
			c.mark(t, yellow)
			continue
		case server.Leader:
			t.add(c.show(server.Name), c.t("status.server-leader"))
		default:
			t.add(c.show(server.Name), c.t("status.server-current"))
		}
		current++
	}
	t.print(c.row)
	// A majority of the servers must have the catalogue, or nothing can be read or written.
	if spare := current - (len(s.Servers)/2 + 1); spare > 0 {
		c.println(c.n("status.servers-spare", int64(spare)))
	} else {
		c.println(c.alarm(yellow, c.t("status.servers-last")))
	}
}

// verdict is the error that makes a program notice that data is lost or endangered; nil
// if it is neither, as far as the nodes have looked.
func verdict(x *texts, s *schemas.StatusReply, c *condition) error {
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
	for i := range s.Map.Nodes {
		if n := &s.Map.Nodes[i]; n.Older > 0 {
			c.println(c.t("status.older", "Node", c.show(n.Name), "When", c.when(n.Older)))
		}
	}
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
	case len(sum.levels) == 0 && sum.surveyed:
		c.println(c.t("status.nothing"))
	case sum.intact() && sum.newer > 0:
		c.println(c.t("status.surveyed-intact"))
	case sum.intact():
		c.println(c.t("status.all-intact"))
	case !sum.surveyed:
		c.println(c.t("status.not-surveyed"))
	}
	if sum.newer > 0 {
		c.println(c.n("status.newer", sum.newer))
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
	// Intact: every chunk that was surveyed has all its replicas, each in its place.
	Intact     bool            `json:"intact"`
	Surveyed   bool            `json:"surveyed"` // the figures are final
	Newer      int64           `json:"newer"`    // parts that came after the survey
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

	Coordinators []jsonCoordinator `json:"coordinators"`
	Servers      []jsonServer      `json:"servers"` // of a cluster, those that hold the catalogue
	Newest       *jsonNewest       `json:"newest,omitempty"`
}

type jsonCoordinator struct {
	ID      string `json:"id"`
	Version string `json:"version"`
}

type jsonServer struct {
	Name    string `json:"name"`
	Leader  bool   `json:"leader"`
	Current bool   `json:"current"`
}

// jsonNewest is the newest version of the nickname.
type jsonNewest struct {
	ID      string `json:"id"`
	Created string `json:"created"`
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

func statusJSON(s *schemas.StatusReply, c *condition, newest *schemas.Record) *jsonStatus {
	out := &jsonStatus{
		Intact: c.intact(), Surveyed: c.surveyed, Newer: c.newer, Epoch: s.Map.Epoch, Misplaced: c.misplaced,
		ToHeal: c.toHeal, Healed: c.healed, Bytes: c.bytes, Left: c.left.Seconds(), Waiting: c.waiting,
		LostMore: s.LostMore, Collection: collectionJSON(&s.Collection),
		Nodes: []jsonNode{}, Levels: []jsonLevel{}, Scrubs: []jsonScrub{},
		Coordinators: []jsonCoordinator{}, Servers: []jsonServer{},
	}
	for _, one := range s.Coordinators {
		out.Coordinators = append(out.Coordinators, jsonCoordinator(one))
	}
	for _, one := range s.Servers {
		out.Servers = append(out.Servers, jsonServer(one))
	}
	if newest != nil {
		out.Newest = &jsonNewest{schemas.VersionID(newest.Name, newest.Latest), stamp(newest.Created)}
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
