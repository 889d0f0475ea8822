package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"servidor-backup/client"
)

func newMenu(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "menu",
		Short: a.t("menu.short"),
		Long:  a.t("menu.long"),
		Args:  a.takes(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runMenu(cmd.Context(), a) },
	}
}

// menu is the menu of one run: it asks with its prompter what to do.
type menu struct {
	*app
	*prompter
}

// runMenu offers five items again and again until the user leaves. It reports the error of an
// item and goes on. If neither server nor folder is known, it asks for the settings first.
func runMenu(ctx context.Context, a *app) error {
	m := menu{a, newPrompter(a.console, a.in)}
	defer m.close()
	s, err := a.config.settings()
	if err != nil {
		return err
	}
	if s.Server.Value == "" && s.Data.Value == "" {
		a.println(a.t("menu.first"))
		err = m.runItem(ctx, m.askSettings)
	}
	for err == nil {
		err = m.choose(ctx)
	}
	if errors.Is(err, errLeave) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// errLeave ends the menu.
var errLeave = errors.New("leave the menu")

// choose shows the items and runs the one that the user chooses.
func (m menu) choose(ctx context.Context) error {
	items := []struct {
		name string
		run  func(context.Context) error
	}{
		{m.t("menu.transmit"), m.transmit},
		{m.t("menu.list"), m.list},
		{m.t("menu.download"), m.download},
		{m.t("menu.config"), m.askSettings},
		{m.t("menu.exit"), func(context.Context) error { return errLeave }},
	}
	m.println("")
	for i, item := range items {
		m.printf("  %d. %s\n", i+1, item.name)
	}
	m.println("")
	choice, err := m.ask(ctx, ">")
	if err != nil {
		return err
	}
	if len(choice) != 1 || choice[0] < '1' || choice[0] > '5' {
		m.line(m.t("menu.choose"))
		return nil
	}
	return m.runItem(ctx, items[choice[0]-'1'].run)
}

// runItem runs one item. It returns only errors that end the menu and reports all others.
func (m menu) runItem(ctx context.Context, run func(context.Context) error) error {
	err := run(ctx)
	if errors.Is(err, errLeave) || errors.Is(err, io.EOF) || ctx.Err() != nil {
		return err
	}
	m.report(err)
	return nil
}

func (m menu) askSettings(ctx context.Context) error { return askSettings(ctx, m.app, m.prompter) }

func (m menu) transmit(ctx context.Context) error {
	path, err := m.ask(ctx, m.t("menu.ask-path"))
	if err != nil || path == "" {
		return err
	}
	if path == "-" {
		path = "./-" // stdin carries the answers
	}
	name, err := m.ask(ctx, m.t("menu.ask-name"))
	if err != nil {
		return err
	}
	return runTransmit(ctx, m.app, client.BackupOptions{Paths: []string{path}, Name: name})
}

func (m menu) list(ctx context.Context) error {
	if err := listRecords(ctx, m.app, client.ListOptions{}); err != nil {
		return err
	}
	name, err := m.ask(ctx, m.t("menu.ask-versions"))
	if err != nil || name == "" {
		return err
	}
	return listVersions(ctx, m.app, name, client.ListOptions{})
}

func (m menu) download(ctx context.Context) error {
	id, err := m.ask(ctx, m.t("menu.ask-id"))
	if err != nil || id == "" {
		return err
	}
	opt := client.RestoreOptions{ID: id}
	inside, err := m.ask(ctx, m.t("menu.ask-inside"))
	if err != nil {
		return err
	}
	if inside != "" {
		opt.Inside = []string{inside}
	}
	opt.To, err = m.askOr(ctx, m.t("menu.ask-to"), ".")
	if err != nil {
		return err
	}
	return runDownload(ctx, m.app, opt)
}
