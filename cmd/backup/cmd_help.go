package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
			a.printHelp(cmd)
			return nil
		},
	}
}

// printHelp writes the help of a command to stdout.
func (c *console) printHelp(cmd *cobra.Command) {
	fmt.Fprint(c.out, c.help(cmd, textWidth(c.outColumns())))
}

// help tells what a command does and which arguments it takes, in lines of at most width
// columns. It replaces cobra's template, which contains English words.
func (c *console) help(cmd *cobra.Command, width int) string {
	var b strings.Builder
	b.WriteString(reflow(longOrShort(cmd), width) + "\n")
	section(&b, c.t("help.usage"), wrap("  "+c.useLine(cmd), width, 4)+"\n")
	if names := c.otherNames(cmd); len(names) > 0 {
		section(&b, c.t("help.aliases"), "  "+strings.Join(names, ", ")+"\n")
	}
	for _, group := range cmd.Groups() {
		section(&b, group.Title, c.listCommands(cmd, group.ID, width))
	}
	if !cmd.HasParent() {
		section(&b, c.t("help.exit-codes"), columnsOf(exitList(c.texts), width))
		section(&b, c.t("help.json"), indent(reflow(c.t("help.json-text"), width-2))+"\n")
	} else if cmd.HasAvailableSubCommands() {
		section(&b, c.t("help.commands"), c.listCommands(cmd, "", width))
	}
	section(&b, c.t("help.flags"), flagList(cmd.NonInheritedFlags(), width))
	section(&b, c.t("help.global-flags"), flagList(cmd.InheritedFlags(), width))
	return b.String()
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// exitList are the exit codes and what they mean.
func exitList(x *texts) [][2]string {
	return [][2]string{
		{strconv.Itoa(exitDone), x.t("help.exit-done")},
		{strconv.Itoa(exitFailed), x.t("help.exit-failed")},
		{strconv.Itoa(exitUsage), x.t("help.exit-usage")},
		{strconv.Itoa(exitPartial), x.t("help.exit-partial")},
		{strconv.Itoa(exitEndangered), x.t("help.exit-endangered")},
		{strconv.Itoa(exitInterrupted), x.t("help.exit-interrupted")},
	}
}

// flagList lists flags, sorted by name.
func flagList(f *pflag.FlagSet, width int) string {
	var rows [][2]string
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden {
			return
		}
		value, text := pflag.UnquoteUsage(flag)
		name := "    --" + flag.Name
		if flag.Shorthand != "" {
			name = "-" + flag.Shorthand + ", --" + flag.Name
		}
		switch {
		case value != "" && flag.NoOptDefVal != "" && flag.Value.Type() != "bool":
			name += "[=" + value + "]"
		case value != "":
			name += " " + value
		}
		rows = append(rows, [2]string{name, text})
	})
	return columnsOf(rows, width)
}

// columnsOf prints rows of a name and a text. All texts begin in one column, behind the widest
// name; a name that takes more than half of the width has its text on the next line.
func columnsOf(rows [][2]string, width int) string {
	const gap = 2
	at := 0
	for _, r := range rows {
		if w := gap + runewidth.StringWidth(r[0]) + gap; w <= width/2 {
			at = max(at, w)
		}
	}
	margin := strings.Repeat(" ", at)
	var b strings.Builder
	for _, r := range rows {
		name := strings.Repeat(" ", gap) + r[0]
		if w := runewidth.StringWidth(name); w+gap <= at {
			name += margin[w:]
		} else {
			name += "\n" + margin
		}
		text := wrap(r[1], max(width-at, width/3), 0)
		b.WriteString(name + strings.ReplaceAll(text, "\n", "\n"+margin) + "\n")
	}
	return b.String()
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

// listCommands lists the subcommands of a group, sorted by name.
func (c *console) listCommands(cmd *cobra.Command, group string, width int) string {
	var rows [][2]string
	for _, sub := range cmd.Commands() {
		if sub.GroupID == group && (sub.IsAvailableCommand() || sub.Name() == "help") {
			rows = append(rows, [2]string{c.commandName(sub), sub.Short})
		}
	}
	slices.SortFunc(rows, func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
	return columnsOf(rows, width)
}
