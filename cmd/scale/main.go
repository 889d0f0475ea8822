// Command scale works out how keeping data on many nodes behaves as the nodes become
// more, from 10 to 10,000: with the placement that the system itself uses, and with
// models where years would have to pass.
//
//	scale DOCUMENT PLOTS
//
// It writes its plots into the folder PLOTS, and into DOCUMENT its tables, each
// between the two lines
//
//	<!-- table NAME -->
//	<!-- end -->
//
// and leaves the rest of the document alone. All but the measured nanoseconds is the
// same in every run.
//
// # Where to read
//
//	balance.go   how evenly chunks are spread, and how evenly chance allows
//	moves.go     what moves when nodes come and go
//	cost.go      what placing a chunk costs
//	heal.go      the model of healing
//	loss.go      the chance of losing data, as a formula
//	history.go   the same by playing failures, to test the formula
//	report.go    tables; plots.go plots
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: scale DOCUMENT PLOTS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
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
