package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newPolicy(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "policy",
		Aliases: []string{"politica", "política"},
		Short:   a.t("policy.short"),
		Long:    a.t("policy.long"),
		Args:    a.takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.policy(cmd.Context(), nil, "") },
	}
	cmd.AddCommand(newDurability(a), newGrace(a))
	return cmd
}

func newDurability(a *app) *cobra.Command {
	var degraded bool
	cmd := &cobra.Command{
		Use:     "durability K+M|auto",
		Aliases: []string{"durabilidade"},
		Short:   a.t("policy.durability-short"),
		Long:    a.t("policy.durability-long"),
		Args:    a.takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var d schemas.Durability // auto
			if args[0] != "auto" {
				var err error
				if d, err = schemas.ParseDurability(args[0]); err != nil {
					return a.usage("policy.bad-durability", "Value", args[0])
				}
			}
			set := &schemas.Policy{Durability: &d}
			nickname := a.ownNickname(cmd)
			if cmd.Flags().Changed("degraded") {
				if nickname != "" {
					return a.usage("policy.degraded-for-all")
				}
				set.Degraded = &degraded
			}
			return a.policy(cmd.Context(), set, nickname)
		},
	}
	cmd.Flags().BoolVar(&degraded, "degraded", false, a.t("policy.flag-degraded"))
	return cmd
}

func newGrace(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "grace " + a.t("policy.grace-args"),
		Aliases: []string{"carencia", "carência"},
		Short:   a.t("policy.grace-short"),
		Args:    a.takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			grace, err := time.ParseDuration(args[0])
			if err != nil || grace <= 0 {
				return a.usage("policy.bad-grace", "Value", args[0])
			}
			ns := int64(grace)
			return a.policy(cmd.Context(), &schemas.Policy{Grace: &ns}, "")
		},
	}
}

// ownNickname is the nickname that was given with this very command: policies are for
// all others.
func (a *app) ownNickname(cmd *cobra.Command) string {
	if cmd.Flags().Changed("nickname") {
		return a.flags.nickname
	}
	return ""
}

// jsonPolicy is what --json prints of the policies.
type jsonPolicy struct {
	Durability string            `json:"durability"`
	Effective  string            `json:"effective"`
	Degraded   bool              `json:"degraded"`
	Grace      string            `json:"grace,omitempty"`
	Nicknames  map[string]string `json:"nicknames"`
}

// policy changes what set says, if anything, and prints what holds.
func (a *app) policy(ctx context.Context, set *schemas.Policy, nickname string) error {
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	p, err := b.Policy(ctx, set, nickname)
	if err != nil {
		return err
	}
	if a.flags.json {
		out := jsonPolicy{Durability: "auto", Effective: p.Effective.String(), Nicknames: map[string]string{}}
		if d := p.Policy.Durability; d != nil {
			out.Durability = d.String()
		}
		out.Degraded = p.Policy.Degraded != nil && *p.Policy.Degraded
		if g := p.Policy.Grace; g != nil {
			out.Grace = time.Duration(*g).String()
		}
		for _, n := range p.Nicknames {
			out.Nicknames[n.Nickname] = n.Durability.String()
		}
		return a.printJSON(out)
	}
	if p.Policy.Durability == nil {
		a.println(a.t("policy.auto", "Durability", a.durability(p.Effective)))
	} else {
		a.println(a.durability(p.Effective))
	}
	for _, n := range p.Nicknames {
		a.println(a.t("policy.nickname", "Nickname", a.show(n.Nickname), "Durability", a.durability(n.Durability)))
	}
	if p.Policy.Degraded != nil && *p.Policy.Degraded {
		a.println(a.t("policy.degraded"))
	}
	if g := p.Policy.Grace; g != nil {
		a.println(a.t("policy.grace", "Time", a.took(time.Duration(*g))))
	}
	return nil
}
