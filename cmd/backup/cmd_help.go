package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// newHelp is the help command; cobra's own speaks English only.
func newHelp(a *app, root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help " + a.t("help.args"),
		Short: a.t("help.short"),
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return a.unknownCommand(root, args)
			}
			a.help(a.out, cmd)
			return nil
		},
	}
}

// help prints what a command does and which arguments it takes. It replaces cobra's
// template, which contains English words.
func (c *console) help(w io.Writer, cmd *cobra.Command) {
	var b strings.Builder
	b.WriteString(longOrShort(cmd) + "\n")
	section(&b, c.t("help.usage"), "  "+c.useLine(cmd)+"\n")
	if names := c.otherNames(cmd); len(names) > 0 {
		section(&b, c.t("help.aliases"), "  "+strings.Join(names, ", ")+"\n")
	}
	for _, group := range cmd.Groups() {
		section(&b, group.Title, c.listCommands(cmd, group.ID))
	}
	if !cmd.HasParent() {
		section(&b, c.t("help.exit-codes"), c.t("help.exit-list")+"\n")
		section(&b, c.t("help.json"), c.t("help.json-text")+"\n")
	} else if cmd.HasAvailableSubCommands() {
		section(&b, c.t("help.commands"), c.listCommands(cmd, ""))
	}
	section(&b, c.t("help.flags"), cmd.NonInheritedFlags().FlagUsages())
	section(&b, c.t("help.global-flags"), cmd.InheritedFlags().FlagUsages())
	// stdout reports a failed write when it is flushed; one to stderr cannot be reported.
	_, _ = io.WriteString(w, b.String())
}

func longOrShort(cmd *cobra.Command) string {
	if cmd.Long != "" {
		return strings.TrimSpace(cmd.Long)
	}
	return cmd.Short
}

// section writes a heading and the text below it; without a text, nothing.
func section(b *strings.Builder, title, text string) {
	if text != "" {
		b.WriteString("\n" + title + "\n" + text)
	}
}

// otherNames are the names of a command besides the one in the user's language.
func (c *console) otherNames(cmd *cobra.Command) []string {
	if len(cmd.Aliases) == 0 {
		return nil
	}
	all := append([]string{cmd.Name()}, cmd.Aliases...)
	shown := c.commandName(cmd)
	return slices.DeleteFunc(all, func(name string) bool { return name == shown })
}

// listCommands lists the subcommands of a group, one per line, sorted by name.
func (c *console) listCommands(cmd *cobra.Command, group string) string {
	var lines []string
	for _, sub := range cmd.Commands() {
		if sub.GroupID == group && (sub.IsAvailableCommand() || sub.Name() == "help") {
			lines = append(lines, fmt.Sprintf("  %-17s %s\n", c.commandName(sub), sub.Short))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
