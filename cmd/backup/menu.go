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
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.menu(cmd.Context()) },
	}
}

// menu offers five points again and again, until the person leaves. What goes
// wrong in one is shown, and the menu goes on. Without a server to talk to, the
// settings come first.
func (a *app) menu(ctx context.Context) error {
	p := newPrompter(a)
	defer p.close()
	s, err := a.settings()
	if err != nil {
		return err
	}
	if s.Server.Value == "" && s.Data.Value == "" {
		a.println(a.t("menu.first"))
		if err := a.menuStep(ctx, p, a.askSettings); err != nil {
			return leave(err)
		}
	}
	for {
		err := a.menuOnce(ctx, p)
		if err != nil {
			return leave(err)
		}
	}
}

// errLeave ends the menu.
var errLeave = errors.New("leave the menu")

// leave turns the ways to end the menu into success.
func leave(err error) error {
	if errors.Is(err, errLeave) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// menuOnce shows the points and carries one out.
func (a *app) menuOnce(ctx context.Context, p *prompter) error {
	points := []struct {
		name string
		do   func(context.Context, *prompter) error
	}{
		{a.t("menu.transmit"), a.menuTransmit},
		{a.t("menu.list"), a.menuList},
		{a.t("menu.download"), a.menuDownload},
		{a.t("menu.config"), a.askSettings},
		{a.t("menu.exit"), func(context.Context, *prompter) error { return errLeave }},
	}
	a.println("")
	for i, point := range points {
		a.printf("  %d. %s\n", i+1, point.name)
	}
	a.println("")
	choice, err := p.ask(ctx, ">")
	if err != nil {
		return err
	}
	if len(choice) != 1 || choice[0] < '1' || choice[0] > '5' {
		a.console.line(a.t("menu.choose"))
		return nil
	}
	return a.menuStep(ctx, p, points[choice[0]-'1'].do)
}

// menuStep carries out one point. It returns only what ends the menu.
func (a *app) menuStep(ctx context.Context, p *prompter, do func(context.Context, *prompter) error) error {
	err := do(ctx, p)
	if errors.Is(err, errLeave) || errors.Is(err, io.EOF) || ctx.Err() != nil {
		return err
	}
	a.console.fail(err)
	return nil
}

func (a *app) menuTransmit(ctx context.Context, p *prompter) error {
	path, err := p.ask(ctx, a.t("menu.ask-path"))
	if err != nil || path == "" {
		return err
	}
	if path == "-" {
		path = "./-" // stdin is where the answers come from
	}
	name, err := p.ask(ctx, a.t("menu.ask-name"))
	if err != nil {
		return err
	}
	return a.transmit(ctx, client.BackupOptions{Paths: []string{path}, Name: name})
}

func (a *app) menuList(ctx context.Context, p *prompter) error {
	if err := a.listRecords(ctx, client.ListOptions{}); err != nil {
		return err
	}
	name, err := p.ask(ctx, a.t("menu.ask-versions"))
	if err != nil || name == "" {
		return err
	}
	return a.listVersions(ctx, name, client.ListOptions{})
}

func (a *app) menuDownload(ctx context.Context, p *prompter) error {
	id, err := p.ask(ctx, a.t("menu.ask-id"))
	if err != nil || id == "" {
		return err
	}
	opt := client.RestoreOptions{ID: id}
	inside, err := p.ask(ctx, a.t("menu.ask-inside"))
	if err != nil {
		return err
	}
	if inside != "" {
		opt.Inside = []string{inside}
	}
	opt.To, err = p.askOr(ctx, a.t("menu.ask-to"), ".")
	if err != nil {
		return err
	}
	return a.download(ctx, opt)
}
