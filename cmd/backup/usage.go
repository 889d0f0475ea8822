package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"servidor-backup/bus"
)

// unknownCommand is the root's check of its arguments: any argument that reaches the root
// names no command.
func (c *console) unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near, ok := otherWords[args[0]]; ok {
		return c.usage("error.command-near", "Command", args[0], "Near", c.localName(root, near))
	}
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		return c.usage("error.command-near", "Command", asTyped(args[0]), "Near", c.localName(root, near[0]))
	}
	return c.usage("error.command", "Command", asTyped(args[0]))
}

// asTyped is an argument for a message: of an address without the password.
func asTyped(arg string) string {
	if strings.Contains(arg, "://") {
		return bus.Redact(arg)
	}
	return arg
}

// otherWords are what other programs and people call our commands.
var otherWords = map[string]string{
	"backup": "transmit", "save": "transmit", "create": "transmit", "snapshot": "transmit", "push": "transmit",
	"upload": "transmit", "put": "transmit", "send": "transmit", "archive": "transmit", "copy": "transmit",
	"salvar": "transmit", "enviar": "transmit", "copiar": "transmit", "init": "transmit", "iniciar": "transmit",

	"snapshots": "list", "versions": "list", "records": "list", "archives": "list", "show": "list", "dir": "list",
	"find": "list", "search": "list", "versões": "list", "registros": "list", "mostrar": "list", "buscar": "list",
	"procurar": "list",

	"restore": "download", "extract": "download", "get": "download", "pull": "download", "fetch": "download",
	"recover": "download", "dump": "download", "cat": "download", "restaurar": "download", "recuperar": "download",
	"extrair": "download",

	"verify": "check", "fsck": "check", "validate": "check", "test": "check", "validar": "check", "testar": "check",

	"delete": "forget", "remove": "forget", "rm": "forget", "del": "forget", "apagar": "forget",
	"remover": "forget", "excluir": "forget", "undelete": "unforget", "undo": "unforget", "desfazer": "unforget",

	"prune": "gc", "purge": "gc", "clean": "gc", "cleanup": "gc", "compact": "gc", "collect": "gc", "limpar": "gc",

	"settings": "config", "setup": "config", "configure": "config", "connect": "config", "login": "config",
	"ajustes": "config",

	"server": "up", "serve": "up", "start": "up", "run": "up", "daemon": "up", "servidor": "up", "servir": "up",

	"health": "status", "info": "status", "stat": "status", "stats": "status", "doctor": "status",
	"saúde": "status", "repair": "rebuild-catalogue", "rebuild": "rebuild-catalogue",
	"rebuild-catalog": "rebuild-catalogue", "reparar": "rebuild-catalogue",
}

// localName translates the name of a command to the user's language.
func (c *console) localName(root *cobra.Command, name string) string {
	for _, cmd := range root.Commands() {
		if cmd.Name() == name {
			return c.commandName(cmd)
		}
	}
	return name
}

// commandName is the name of a command in the user's language: the first alias is the
// Portuguese name.
func (c *console) commandName(cmd *cobra.Command) string {
	if c.lang == "pt" && len(cmd.Aliases) > 0 {
		return cmd.Aliases[0]
	}
	return cmd.Name()
}

// useLine is the usage of a command: its names from the root on, its arguments and the word
// for flags.
func (c *console) useLine(cmd *cobra.Command) string {
	args := strings.TrimPrefix(cmd.Use, cmd.Name())
	if !cmd.HasParent() {
		args = " " + c.t("help.command")
	}
	line := c.commandName(cmd) + args + " " + c.t("help.some-flags")
	for p := cmd.Parent(); p != nil; p = p.Parent() {
		line = c.commandName(p) + " " + line
	}
	return line
}

// takes checks that a command has at least low and at most high arguments; a negative high
// is no limit.
func (c *console) takes(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < low {
			return c.usage("error.too-few", "Use", c.useLine(cmd))
		}
		if high >= 0 && len(args) > high {
			return c.usage("error.too-many", "Argument", asTyped(args[high]), "Use", c.useLine(cmd))
		}
		return nil
	}
}

// refuseEmpty refuses empty arguments and empty values of flags. They come from variables
// that are not set, and stand for nothing: not for the current folder, and not for a default.
func (c *console) refuseEmpty(cmd *cobra.Command, args []string) (err error) {
	if slices.Contains(args, "") {
		return c.usage("error.empty-argument", "Use", c.useLine(cmd))
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		if err == nil && slices.Contains(values, "") {
			err = c.usage("error.empty-flag", "Flag", "--"+f.Name)
		}
	})
	return err
}

// argument returns the i-th of args, or "" if there are fewer.
func argument(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}

// flagError translates an error of the flag parser.
func (c *console) flagError(err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return c.usage("error.flag-unknown", "Flag", flagName(unknown.GetSpecifiedName(), unknown.GetSpecifiedShortnames()))
	case errors.As(err, &missing):
		return c.usage("error.flag-value", "Flag", flagName(missing.GetSpecifiedName(), missing.GetSpecifiedShortnames()))
	case errors.As(err, &invalid):
		return c.usage("error.flag-invalid", "Flag", "--"+invalid.GetFlag().Name, "Value", invalid.GetValue())
	}
	return c.usage("error.flag-other", "Detail", err.Error())
}

// flagName is a flag as it was typed. Of -xyz the parser reports only the whole.
func flagName(name, shorthands string) string {
	if shorthands != "" {
		return "-" + shorthands
	}
	return "--" + name
}
