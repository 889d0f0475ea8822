package main

import (
	"fmt"
	"io"
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

// newRoot is the command tree. Commands have English names. The first alias of a command
// that has aliases is its Portuguese name.
func newRoot(a *app) *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:           "backup",
		Short:         a.t("root.short"),
		Long:          a.t("root.long"),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          a.unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				return printVersion(a)
			}
			if a.inTerminal && a.outTerminal {
				return runMenu(cmd.Context(), a)
			}
			if !a.json {
				fmt.Fprint(a.console, a.help(cmd, textWidth(a.errColumns())))
			}
			return a.usage("error.no-command")
		},
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if err := a.refuseEmpty(cmd, args); err != nil {
				return err
			}
			if err := applyGlobalFlags(a); err != nil {
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
	addTo(root, groupClient, newTransmit(a), newList(a), newDownload(a), newCheck(a), newForget(a),
		newUnforget(a), newConfig(a), newMenu(a))
	addTo(root, groupServer, newUp(a), newCoordinator(a), newStorage(a), newNodes(a), newNode(a), newPolicy(a),
		newStatus(a), newScrub(a), newGC(a), newRebuild(a))
	addTo(root, groupTools, newDecode(a), newVersion(a), newCompletion(a))
	root.SetHelpCommand(newHelp(a, root))
	root.SetHelpCommandGroupID(groupTools)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { a.printHelp(cmd) })
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return a.flagError(err) })
	root.SetOut(a.out)
	root.SetErr(io.Discard) // the console prints errors
	root.Flags().BoolVar(&version, "version", false, a.t("flag.version"))
	addGlobalFlags(a, root.PersistentFlags())
	return root
}

func addTo(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

func addGlobalFlags(a *app, f *pflag.FlagSet) {
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

// applyGlobalFlags checks the global flags after the real parse and does what they ask for.
// It also passes to the console the flags that the early scan may have missed.
func applyGlobalFlags(a *app) error {
	a.json, a.quiet = a.flags.json, a.flags.quiet
	if lang := a.flags.lang; lang != "" && matchLanguage(lang) == "" {
		return a.usage("error.lang", "Value", lang, "Languages", strings.Join(languages, ", "))
	}
	if a.flags.nice {
		if err := a.env.beNice(); err != nil {
			a.notice(a.t("console.not-nice", "Text", err.Error()))
		}
	}
	return setMemory(a)
}
