package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newCollect(a *app) *cobra.Command {
	var grace time.Duration
	var wait bool
	cmd := &cobra.Command{
		Use:     "gc",
		Aliases: []string{"coletar"},
		Short:   a.t("gc.short"),
		Long:    a.t("gc.long"),
		Args:    a.takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := &schemas.CollectRequest{Start: true}
			if cmd.Flags().Changed("grace") {
				ns := int64(grace)
				req.Grace = &ns
			}
			return a.collect(cmd.Context(), req, wait)
		},
	}
	cmd.Flags().DurationVar(&grace, "grace", 0, a.t("gc.flag-grace"))
	cmd.Flags().BoolVar(&wait, "wait", true, a.t("gc.flag-wait"))
	cmd.Flags().Lookup("wait").DefValue = "false" // the text says it, in the person's language
	return cmd
}

// collectPoll is how often a collection is asked how it goes.
const collectPoll = 250 * time.Millisecond

// collect starts a collection and, unless it is not to be waited for, tells how it
// went.
func (a *app) collect(ctx context.Context, req *schemas.CollectRequest, wait bool) error {
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	c, err := b.Collect(ctx, req)
	if err != nil {
		return err
	}
	if !wait {
		a.console.info(a.t("gc.started"))
		return nil
	}
	for c.Ended == 0 {
		a.console.status(a.t("gc.step", "Step", c.Step))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(collectPoll):
		}
		if c, err = b.Collect(ctx, nil); err != nil {
			return err
		}
	}
	a.console.status("")
	return a.printCollection(c)
}

// jsonCollection is what --json prints of a collection.
type jsonCollection struct {
	Generation uint32 `json:"generation"`
	Started    string `json:"started"`
	Ended      string `json:"ended,omitempty"`
	Step       string `json:"step,omitempty"`
	Versions   int64  `json:"versions"`
	Marked     int64  `json:"marked"`
	Chunks     int64  `json:"chunks"`
	Bytes      int64  `json:"bytes"`
	Freed      int64  `json:"freed"`
	Skipped    string `json:"skipped,omitempty"`
	Error      string `json:"error,omitempty"`
}

func collectionJSON(c *schemas.Collection) *jsonCollection {
	if c.Started == 0 {
		return nil
	}
	out := &jsonCollection{
		Generation: c.Generation, Started: stamp(c.Started), Step: c.Step, Versions: c.Versions, Marked: c.Marked,
		Chunks: c.Chunks, Bytes: c.Bytes, Freed: c.Freed, Skipped: c.Skipped, Error: c.Error,
	}
	if c.Ended != 0 {
		out.Ended = stamp(c.Ended)
	}
	return out
}

func (a *app) printCollection(c *schemas.Collection) error {
	if c.Error != "" {
		return a.fail("gc-failed", nil, "gc.failed", "Text", c.Error)
	}
	if a.flags.json {
		return a.printJSON(collectionJSON(c))
	}
	a.println(a.collection(c))
	if c.Skipped != "" {
		a.console.notice(a.t("gc.skipped", "Text", c.Skipped))
	}
	return nil
}

// collection tells of a collection in a line.
func (a *app) collection(c *schemas.Collection) string {
	return a.n("gc.done", c.Versions, "Marked", a.number(c.Marked), "Chunks", a.number(c.Chunks),
		"Bytes", a.size(c.Bytes), "Freed", a.size(c.Freed))
}

func newRebuild(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rebuild-catalogue",
		Aliases: []string{"refazer-catalogo", "refazer-catálogo"},
		Short:   a.t("rebuild.short"),
		Long:    a.t("rebuild.long"),
		Args:    a.takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.rebuild(cmd.Context()) },
	}
}

func (a *app) rebuild(ctx context.Context) error {
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	rep, err := b.RebuildCatalogue(ctx)
	if err != nil {
		return err
	}
	if a.flags.json {
		out := jsonRebuilt{Keys: rep.Keys, Moved: []jsonMoved{}, Missing: append([]string{}, rep.Missing...)}
		for _, m := range rep.Moved {
			out.Moved = append(out.Moved, jsonMoved(m))
		}
		return a.printJSON(out)
	}
	if rep.Keys == 0 {
		a.println(a.t("rebuild.nothing"))
	} else {
		a.println(a.n("rebuild.done", rep.Keys))
	}
	for _, m := range rep.Moved {
		a.println(a.t("rebuild.moved", "Nickname", m.Nickname, "From", m.From, "To", m.To))
	}
	if len(rep.Moved) == schemas.MaxMoved {
		a.println(a.t("rebuild.more"))
	}
	if len(rep.Missing) > 0 {
		a.console.notice(a.t("rebuild.missing", "Nodes", strings.Join(rep.Missing, ", ")))
	}
	return nil
}

// jsonRebuilt is what "rebuild-catalogue --json" prints.
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
