package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/client"
	"servidor-backup/schemas"
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
			return a.check(cmd.Context(), client.CheckOptions{ID: argument(args, 0), Read: read})
		},
	}
	cmd.Flags().StringVar(&part, "read-data", "0%", a.t("check.flag-read-data"))
	flag := cmd.Flags().Lookup("read-data")
	flag.NoOptDefVal, flag.DefValue = "100%", ""
	a.addDownloadFlags(cmd.Flags())
	return cmd
}

// parsePercent reads 5% as 0.05.
func parsePercent(s string) (part float64, ok bool) {
	number, ok := strings.CutSuffix(s, "%")
	percent, err := strconv.ParseFloat(number, 64)
	return percent / 100, ok && err == nil && percent >= 0 && percent <= 100
}

// jsonChecked is what --json prints of a check.
type jsonChecked struct {
	Versions int64   `json:"versions"`
	Trees    int64   `json:"trees"`
	Chunks   int64   `json:"chunks"`
	Read     int64   `json:"read"`
	Bytes    int64   `json:"bytes"`
	Damaged  int64   `json:"damaged"`
	Seconds  float64 `json:"seconds"`
}

// check proves that what is saved can be brought back.
func (a *app) check(ctx context.Context, opt client.CheckOptions) error {
	if opt.ID != "" {
		if _, _, err := schemas.ParseVersionID(opt.ID); err != nil {
			return a.usage("error.bad-id", "Detail", err.Error())
		}
	}
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	opt.Progress = new(client.Progress)
	opt.Found = func(version, path string, err error) {
		if path != "" {
			version += "/" + path
		}
		a.console.warn(version, err)
	}
	start := time.Now()
	stop := a.showProgress(opt.Progress)
	res, err := b.Check(ctx, opt)
	stop()
	if err != nil {
		return err
	}
	took := time.Since(start)
	if a.flags.json {
		err = a.printJSON(jsonChecked{res.Versions, res.Trees, res.Chunks, res.Read, res.Bytes, res.Damaged, took.Seconds()})
	} else if !a.flags.quiet {
		a.println(a.n("check.done", res.Versions, "Chunks", a.number(res.Chunks), "Read", a.number(res.Trees+res.Read),
			"Bytes", a.size(res.Bytes), "Time", a.took(took)))
	}
	if err == nil && res.Damaged > 0 {
		return &failure{exit: exitFailed, code: "damaged", text: a.n("check.damaged", res.Damaged), hint: a.t("check.damaged-hint")}
	}
	return err
}
