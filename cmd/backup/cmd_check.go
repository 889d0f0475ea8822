package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/client"
)

func newCheck(a *app) *cobra.Command {
	var part string
	cmd := &cobra.Command{
		Use:     "check " + a.t("check.args"),
		Aliases: []string{"verificar"},
		Short:   a.t("check.short"),
		Long:    a.t("check.long"),
		Args:    a.takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			read, ok := parsePercent(part)
			if !ok {
				return a.usage("check.bad-part", "Value", part)
			}
			return runCheck(cmd.Context(), a, client.CheckOptions{ID: argument(args, 0), Read: read})
		},
	}
	cmd.Flags().StringVar(&part, "read-data", "0%", a.t("check.flag-read-data"))
	flag := cmd.Flags().Lookup("read-data")
	flag.NoOptDefVal, flag.DefValue = "100%", ""
	addDownloadFlags(a, cmd.Flags())
	return cmd
}

// parsePercent reads 5% as 0.05.
func parsePercent(s string) (part float64, ok bool) {
	number, ok := strings.CutSuffix(s, "%")
	percent, err := strconv.ParseFloat(number, 64)
	return percent / 100, ok && err == nil && percent >= 0 && percent <= 100
}

// jsonChecked is the JSON of a check.
type jsonChecked struct {
	Versions int64   `json:"versions"`
	Trees    int64   `json:"trees"`
	Chunks   int64   `json:"chunks"`
	Read     int64   `json:"read"`
	Bytes    int64   `json:"bytes"`
	Damaged  int64   `json:"damaged"`
	Seconds  float64 `json:"seconds"`
	// Incomplete is how many of the versions were saved incomplete.
	Incomplete int64 `json:"incomplete"`
}

// runCheck checks that versions can be restored.
func runCheck(ctx context.Context, a *app, opt client.CheckOptions) error {
	if opt.ID != "" {
		if err := checkID(a.console, opt.ID); err != nil {
			return err
		}
	}
	s, err := a.openToRead(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if opt.ID, err = s.resolve(ctx, opt.ID); err != nil {
		return err
	}
	opt.Progress = new(client.Progress)
	opt.Found = func(version, path string, err error) {
		if path != "" {
			version += "/" + path
		}
		a.warn(version, err)
	}
	opt.Incomplete = func(version string) { a.notice(a.t("download.saved-incomplete", "ID", version)) }
	start := time.Now()
	stop := a.showProgress(opt.Progress)
	res, err := s.Check(ctx, opt)
	stop()
	if err != nil {
		return err
	}
	took := time.Since(start)
	if a.json {
		err = a.printJSON(jsonChecked{res.Versions, res.Trees, res.Chunks, res.Read, res.Bytes, res.Damaged, took.Seconds(), res.Incomplete})
	} else if !a.quiet {
		a.println(a.n("check.done", res.Versions, "Chunks", a.number(res.Chunks), "Read", a.number(res.Trees+res.Read),
			"Bytes", a.size(res.Bytes), "Time", a.took(took)))
	}
	if err == nil && res.Damaged > 0 {
		hint := a.t("check.damaged-hint")
		if res.Noted {
			hint = a.t("check.noted-hint")
		}
		return &failure{exit: exitFailed, code: "damaged", text: a.n("check.damaged", res.Damaged), hint: hint}
	}
	return err
}
