package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newRebuild(a *app) *cobra.Command {
	var opt rebuildOptions
	cmd := &cobra.Command{
		Use:     "rebuild-catalogue",
		Aliases: []string{"refazer-catálogo", "refazer-catalogo"},
		Short:   a.t("rebuild.short"),
		Long:    a.t("rebuild.long"),
		Args:    a.takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runRebuild(cmd.Context(), a, opt) },
	}
	cmd.Flags().DurationVar(&opt.wait, "wait", time.Minute, a.t("rebuild.flag-wait"))
	cmd.Flags().Lookup("wait").DefValue = ""
	cmd.Flags().BoolVar(&opt.withoutMissing, "without-missing", false, a.t("rebuild.flag-without-missing"))
	return cmd
}

// rebuildOptions are the flags of "rebuild-catalogue".
type rebuildOptions struct {
	wait           time.Duration // for nodes that are not up
	withoutMissing bool          // go on without them
}

// runRebuild rebuilds the catalogue from the storage nodes.
func runRebuild(ctx context.Context, a *app, opt rebuildOptions) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if !opt.withoutMissing {
		if err := waitForNodes(ctx, a, s, opt.wait); err != nil {
			return err
		}
	}
	rep, err := s.RebuildCatalogue(ctx)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(rebuiltJSON(rep))
	} else {
		printRebuilt(a.console, rep)
	}
	if err == nil && len(rep.NotAsked) > 0 {
		err = &failure{exit: exitPartial, code: "partial", text: a.t("rebuild.missing", "Nodes", strings.Join(rep.NotAsked, ", "))}
	}
	return err
}

const (
	// nodesEvery is how often the nodes are looked at while some are missing.
	nodesEvery = 200 * time.Millisecond
	// nodesSettle is for how long no further node may register with a catalogue that has lost
	// the nodes' cards, too: nobody knows then how many there are. Nodes register within a second.
	nodesSettle = 2 * time.Second
)

// waitForNodes waits until all storage nodes are up, but not longer than limit.
func waitForNodes(ctx context.Context, a *app, s *session, limit time.Duration) error {
	defer a.status("")
	known, changed := -1, time.Now()
	for start := time.Now(); ; {
		m, err := s.Nodes(ctx)
		if err != nil {
			return err
		}
		var missing []string
		for _, n := range m.Nodes {
			if !n.State.Reachable() {
				missing = append(missing, n.Name)
			}
		}
		if len(m.Nodes) != known {
			known, changed = len(m.Nodes), time.Now()
		}
		settled := m.System != "" || time.Since(changed) >= nodesSettle
		late := time.Since(start) > limit
		switch names := strings.Join(missing, ", "); {
		case known > 0 && names == "" && (settled || late), known == 0 && late: // the coordinator says that there is none
			return nil
		case names != "" && late:
			return a.failHint("missing-nodes", nil, a.t("rebuild.hint-not-there"), "rebuild.not-there", "Nodes", names)
		case names != "":
			a.status(a.t("rebuild.waiting", "Nodes", names))
		default:
			a.status(a.t("rebuild.looking"))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(nodesEvery):
		}
	}
}

func printRebuilt(c *console, rep *schemas.RebuildReply) {
	if rep.Keys == 0 {
		c.println(c.t("rebuild.nothing"))
	} else {
		c.println(c.n("rebuild.done", rep.Keys))
	}
	for _, m := range rep.Moved {
		c.println(c.t("rebuild.moved", "Nickname", m.Nickname, "From", m.From, "To", m.To))
	}
	if len(rep.Moved) == schemas.MaxMoved {
		c.println(c.t("rebuild.more"))
	}
}

// jsonRebuilt is the JSON of a rebuild.
type jsonRebuilt struct {
	Keys    int64       `json:"keys"`
	Moved   []jsonMoved `json:"moved"`
	Missing []string    `json:"missing"`
}

type jsonMoved struct {
	Nickname string `json:"nickname"`
	From     string `json:"from"`
	To       string `json:"to"`
}

func rebuiltJSON(rep *schemas.RebuildReply) jsonRebuilt {
	out := jsonRebuilt{Keys: rep.Keys, Moved: []jsonMoved{}, Missing: append([]string{}, rep.NotAsked...)}
	for _, m := range rep.Moved {
		out.Moved = append(out.Moved, jsonMoved(m))
	}
	return out
}
