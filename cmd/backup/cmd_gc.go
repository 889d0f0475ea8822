package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newGC(a *app) *cobra.Command {
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
			return runGC(cmd.Context(), a, req, wait)
		},
	}
	cmd.Flags().DurationVar(&grace, "grace", 0, a.t("gc.flag-grace"))
	cmd.Flags().BoolVar(&wait, "wait", true, a.t("gc.flag-wait"))
	// The flag's text names the default, in the user's language.
	cmd.Flags().Lookup("wait").DefValue = "false"
	return cmd
}

// collectionPoll is how often the command asks for the progress of a collection.
const collectionPoll = 250 * time.Millisecond

// runGC starts a collection. If wait is set, it waits for the end and prints the result.
func runGC(ctx context.Context, a *app, req *schemas.CollectRequest, wait bool) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	c, err := s.Collect(ctx, req)
	if err != nil {
		return err
	}
	if !wait {
		a.info(a.t("gc.started"))
		return nil
	}
	for c.Ended == 0 {
		a.status(a.t("gc.step", "Step", c.Step))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(collectionPoll):
		}
		if c, err = s.Collect(ctx, nil); err != nil {
			return err
		}
	}
	a.status("")
	return printCollection(a.console, c)
}

// jsonCollection is the JSON of a collection.
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

// collectionJSON is nil if there was no collection yet.
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

func printCollection(c *console, result *schemas.Collection) error {
	if result.Error != "" {
		return c.failHint("gc-failed", nil, c.t("gc.failed-hint"), "gc.failed", "Text", result.Error)
	}
	if c.json {
		return c.printJSON(collectionJSON(result))
	}
	c.println(collectionText(c.texts, result))
	if result.Skipped != "" {
		c.notice(c.t("gc.skipped", "Text", result.Skipped))
	}
	return nil
}

// collectionText is the result of a collection in one line.
func collectionText(x *texts, c *schemas.Collection) string {
	return x.n("gc.done", c.Versions, "Marked", x.number(c.Marked), "Chunks", x.number(c.Chunks),
		"Bytes", x.size(c.Bytes), "Freed", x.size(c.Freed))
}
