package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newRebuild(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rebuild-catalogue",
		Aliases: []string{"refazer-catálogo", "refazer-catalogo"},
		Short:   a.t("rebuild.short"),
		Long:    a.t("rebuild.long"),
		Args:    a.takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runRebuild(cmd.Context(), a) },
	}
}

// runRebuild rebuilds the catalogue from the storage nodes.
func runRebuild(ctx context.Context, a *app) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	rep, err := s.RebuildCatalogue(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(rebuiltJSON(rep))
	}
	printRebuilt(a.console, rep)
	return nil
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
	if len(rep.NotAsked) > 0 {
		c.notice(c.t("rebuild.missing", "Nodes", strings.Join(rep.NotAsked, ", ")))
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
