// Command simulate works out how the system behaves as the number of nodes grows, up to
// 10,000: how evenly the nodes fill, how much data moves when the node map changes, how
// long healing takes, and how likely a loss of data is. Balance and moves come from the
// placement that the system itself uses. Healing and loss come from models, because a
// measurement would take years.
//
//	simulate DOCUMENT PLOTS
//
// Simulate writes its plots into the folder PLOTS. It writes its tables into DOCUMENT,
// each between the two lines
//
//	<!-- table NAME -->
//	<!-- end -->
//
// and leaves the rest of the document as it is. Every run gives the same results, except
// for the times that it measures: the table "cost" and its plot.
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: simulate DOCUMENT PLOTS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

func run(document, plots string) error {
	costs := measureCosts()
	tables := []struct{ name, content string }{
		{"balance", balanceTable()},
		{"bias", biasTable()},
		{"moves", movesTable()},
		{"cost", costTable(costs)},
		{"heal", healTable()},
		{"heal-limits", healLimitsTable()},
		{"loss", lossTable()},
		{"combinations", combinationsTable()},
		{"zones", zonesTable()},
	}
	if err := errors.Join(drawBalance(plots), drawCosts(plots, costs), drawHealing(plots), drawLoss(plots)); err != nil {
		return err
	}
	b, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	text := string(b)
	for _, t := range tables {
		if text, err = replaceTable(text, t.name, t.content); err != nil {
			return fmt.Errorf("%s: %w", document, err)
		}
	}
	return os.WriteFile(document, []byte(text), 0o644)
}
