package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// help prints what a command does and takes. cobra has a template for this
// with English words in it.
func (a *app) help(w io.Writer, cmd *cobra.Command) {
	var b strings.Builder
	b.WriteString(firstOf(cmd.Long, cmd.Short) + "\n")
	section(&b, a.t("help.usage"), "  "+a.useLine(cmd)+"\n")
	if len(cmd.Aliases) > 0 {
		section(&b, a.t("help.aliases"), "  "+strings.Join(cmd.Aliases, ", ")+"\n")
	}
	for _, group := range cmd.Groups() {
		section(&b, group.Title, listCommands(cmd, group.ID))
	}
	if !cmd.HasParent() {
		section(&b, a.t("help.exit-codes"), a.t("help.exit-list")+"\n")
		section(&b, a.t("help.json"), a.t("help.json-text")+"\n")
	} else if cmd.HasAvailableSubCommands() {
		section(&b, a.t("help.commands"), listCommands(cmd, ""))
	}
	section(&b, a.t("help.flags"), cmd.NonInheritedFlags().FlagUsages())
	section(&b, a.t("help.global-flags"), cmd.InheritedFlags().FlagUsages())
	// A failed write shows when stdout is flushed; for stderr nobody is left.
	_, _ = io.WriteString(w, b.String())
}

func firstOf(long, short string) string {
	if long != "" {
		return strings.TrimSpace(long)
	}
	return short
}

// section is a heading with text below it, or nothing without text.
func section(b *strings.Builder, title, text string) {
	if text != "" {
		b.WriteString("\n" + title + "\n" + text)
	}
}

// useLine is the command with its arguments and the word for flags.
func (a *app) useLine(cmd *cobra.Command) string {
	line := cmd.Use
	if cmd.HasParent() {
		line = cmd.Parent().CommandPath() + " " + line
	} else {
		line += " " + a.t("help.command")
	}
	return line + " " + a.t("help.some-flags")
}

// listCommands are the subcommands of a group, one a line.
func listCommands(cmd *cobra.Command, group string) string {
	var b strings.Builder
	for _, c := range cmd.Commands() {
		if c.GroupID == group && (c.IsAvailableCommand() || c.Name() == "help") {
			fmt.Fprintf(&b, "  %-17s %s\n", c.Name(), c.Short)
		}
	}
	return b.String()
}
