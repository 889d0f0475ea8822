package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// An empty argument comes from a variable that is not set. No command takes it for anything.
func TestEmptyArgumentsAreRefused(t *testing.T) {
	c := newCLI(t)
	c.vars["BACKUP_NICKNAME"] = "" // but an empty variable of ours counts as not set
	for _, args := range [][]string{
		{"transmit", ""}, {"transmit", "a", "", "--name", "x"}, {"transmit", ".", "--name", ""},
		{"transmit", ".", "--exclude", "a", "--exclude", ""}, {"transmit", ".", "--name="},
		{"download", ""}, {"download", "x", ""}, {"download", "x", "--to", ""}, {"download", "x", "--to="},
		{"list", ""}, {"list", "x", "--tree", ""}, {"check", ""}, {"check", "--read-data="}, {"forget", ""},
		{"unforget", ""}, {"scrub", ""}, {"scrub", "--now", ""}, {"node", "drain", ""}, {"node", "remove", ""},
		{"policy", "durability", ""}, {"policy", "grace", ""}, {"completion", ""}, {"decode", ""}, {"help", ""},
		{"up", "--data", "d", "--cluster-listen", "127.0.0.1:0", "--routes", ""},
		{"up", "--data", "d", "--cluster-listen", "127.0.0.1:0", "--routes", "nats://a:1", "--routes", ""},
		{"up", "--data", "d", "--cluster-listen", "127.0.0.1:0", "--routes", "nats://a:1,,nats://b:1"},
		{"config", "--nickname", ""}, {"config", "--unset", ""}, {"config", "--unset", "nothing"},
	} {
		c.expect(t, exitUsage, args...)
	}
	c.expect(t, exitUsage, "")
	if len(c.backend.asked)+len(c.backend.backups)+len(c.backend.restores) > 0 {
		t.Errorf("something was done: %+v", c.backend)
	}
}

// No flag of any command takes an empty value.
func TestEmptyFlagsAreRefused(t *testing.T) {
	c := newCLI(t)
	a := newApp(nil, streams{nil, &c.out, &c.err}, c.environment())
	tried := 0
	var visit func(ctx context.Context, cmd *cobra.Command, path []string)
	visit = func(ctx context.Context, cmd *cobra.Command, path []string) {
		try := func(f *pflag.Flag) {
			if f.Value.Type() == "bool" || cmd.Name() == "help" {
				return
			}
			tried++
			args := append(path[:len(path):len(path)], "--"+f.Name+"=")
			if cmd.Args != nil && cmd.Args(cmd, nil) != nil {
				args = append(args, "x") // the command has to have an argument
			}
			if code := c.run(ctx, args...); code != exitUsage || !strings.Contains(c.err.String(), f.Name) {
				t.Errorf("%q: exit code %d, %s", args, code, c.err.String())
			}
		}
		if cmd.Runnable() {
			cmd.LocalFlags().VisitAll(try)
			cmd.InheritedFlags().VisitAll(try)
		}
		for _, child := range cmd.Commands() {
			visit(ctx, child, append(path[:len(path):len(path)], child.Name()))
		}
	}
	synctest.Test(t, func(t *testing.T) { visit(t.Context(), newRoot(a), nil) })
	if tried < 200 {
		t.Errorf("only %d flags were tried", tried)
	}
}
