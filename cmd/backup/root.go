package main

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Groups of commands in the help.
const (
	groupClient = "client"
	groupServer = "server"
	groupTools  = "tools"
)

// newRoot is the command tree.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "backup",
		Short:         a.t("root.short"),
		Long:          a.t("root.long"),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          a.noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.inTerm && a.outTerm {
				return a.menu(cmd.Context())
			}
			if !a.flags.json {
				a.help(a.console, cmd)
			}
			return a.usage("error.no-command")
		},
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if err := a.checkFlags(); err != nil {
				return err
			}
			return a.profiles.start()
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddGroup(
		&cobra.Group{ID: groupClient, Title: a.t("help.client")},
		&cobra.Group{ID: groupServer, Title: a.t("help.server")},
		&cobra.Group{ID: groupTools, Title: a.t("help.tools")},
	)
	addTo(root, groupClient, newTransmit(a), newList(a), newDownload(a), newCheck(a), newForget(a), newUnforget(a), newConfig(a), newMenu(a))
	addTo(root, groupServer, newUp(a), newCoordinator(a), newStorage(a), newNodes(a), newNode(a), newPolicy(a),
		newStatus(a), newScrub(a), newCollect(a), newRebuild(a))
	addTo(root, groupTools, newDecode(a), newVersion(a), newCompletion(a))
	root.SetHelpCommand(newHelp(a, root))
	root.SetHelpCommandGroupID(groupTools)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { a.help(a.out, cmd) })
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return a.flagError(err) })
	root.SetOut(a.out)
	root.SetErr(io.Discard) // console says what there is to say
	a.addGlobalFlags(root.PersistentFlags())
	return root
}

func addTo(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

func (a *app) addGlobalFlags(f *pflag.FlagSet) {
	f.StringVar(&a.flags.server, "server", "", a.t("flag.server"))
	f.StringVar(&a.flags.data, "data", "", a.t("flag.data"))
	f.StringVar(&a.flags.nickname, "nickname", "", a.t("flag.nickname"))
	f.StringVar(&a.flags.keyFile, "key-file", "", a.t("flag.key-file"))
	f.StringVar(&a.flags.config, "config", "", a.t("flag.config"))
	f.StringVar(&a.flags.lang, "lang", "", a.t("flag.lang"))
	f.BoolVar(&a.flags.json, "json", false, a.t("flag.json"))
	f.BoolVarP(&a.flags.quiet, "quiet", "q", false, a.t("flag.quiet"))
	f.StringVar(&a.flags.maxMemory, "max-memory", "", a.t("flag.max-memory"))
	f.BoolVar(&a.flags.nice, "nice", false, a.t("flag.nice"))
	f.BoolP("help", "h", false, a.t("flag.help"))
	a.profiles.addFlags(f)
}

// checkFlags checks the global flags of the real parse, lets the console know of
// those that the early scan could not see, and does what they ask for.
func (a *app) checkFlags() error {
	a.console.json, a.console.quiet = a.flags.json, a.flags.quiet
	if lang := a.flags.lang; lang != "" && matchLanguage(lang) == "" {
		return a.usage("error.lang", "Value", lang, "Languages", strings.Join(languages, ", "))
	}
	if a.flags.nice {
		if err := a.env.beNice(); err != nil {
			a.console.notice(a.t("console.not-nice", "Text", err.Error()))
		}
	}
	return a.setMemory()
}

// noSuchCommand is what the root says to arguments, which no command took.
func (a *app) noSuchCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		return a.usage("error.command-near", "Command", args[0], "Near", near[0])
	}
	return a.usage("error.command", "Command", args[0])
}

// takes checks that there are at least low and at most high arguments; no
// limit when high is negative.
func (a *app) takes(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < low {
			return a.usage("error.too-few", "Use", a.useLine(cmd))
		}
		if high >= 0 && len(args) > high {
			return a.usage("error.too-many", "Argument", args[high], "Use", a.useLine(cmd))
		}
		return nil
	}
}

// argument is the i-th of args, or "" if there are not so many.
func argument(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}

// flagError puts what the flag parser says into the person's words.
func (a *app) flagError(err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return a.usage("error.flag-unknown", "Flag", flagName(unknown.GetSpecifiedName(), unknown.GetSpecifiedShortnames()))
	case errors.As(err, &missing):
		return a.usage("error.flag-value", "Flag", flagName(missing.GetSpecifiedName(), missing.GetSpecifiedShortnames()))
	case errors.As(err, &invalid):
		return a.usage("error.flag-invalid", "Flag", "--"+invalid.GetFlag().Name, "Value", invalid.GetValue())
	}
	return a.usage("error.flag-other", "Detail", err.Error())
}

// flagName is a flag as it was typed. Of -xyz only the whole is known.
func flagName(name, shorthands string) string {
	if shorthands != "" {
		return "-" + shorthands
	}
	return "--" + name
}

// newHelp is the help command; cobra's own speaks English only.
func newHelp(a *app, root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help " + a.t("help.args"),
		Short: a.t("help.short"),
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return a.noSuchCommand(root, args)
			}
			a.help(a.out, cmd)
			return nil
		},
	}
}

// newCompletion writes the scripts that complete commands and flags in shells.
func newCompletion(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:       "completion " + strings.Join(shells, "|"),
		Short:     a.t("completion.short"),
		Long:      a.t("completion.long"),
		Args:      a.takes(1, 1),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch {
			case !slices.Contains(shells, args[0]):
				return a.usage("error.shell", "Shell", args[0], "Shells", strings.Join(shells, ", "))
			case args[0] == "bash":
				return root.GenBashCompletionV2(a.out, true)
			case args[0] == "zsh":
				return root.GenZshCompletion(a.out)
			case args[0] == "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.out)
		},
	}
}
