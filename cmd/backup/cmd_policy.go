package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

func newPolicy(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "policy",
		Aliases: []string{"política", "politica"},
		Short:   a.t("policy.short"),
		Long:    a.t("policy.long"),
		Args:    a.takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runPolicy(cmd.Context(), a, nil, "") },
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
			var d schemas.Durability // the zero value is auto
			if args[0] != "auto" {
				var err error
				if d, err = schemas.ParseDurability(args[0]); err != nil {
					return a.usage("policy.bad-durability", "Value", args[0])
				}
			}
			set := &schemas.Policy{Durability: &d}
			nickname := policyNickname(a, cmd)
			if cmd.Flags().Changed("degraded") {
				if nickname != "" {
					return a.usage("policy.degraded-for-all")
				}
				set.Degraded = &degraded
			}
			return runPolicy(cmd.Context(), a, set, nickname)
		},
	}
	cmd.Flags().BoolVar(&degraded, "degraded", false, a.t("policy.flag-degraded"))
	return cmd
}

func newGrace(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "grace " + a.t("policy.grace-args"),
		Aliases: []string{"carência", "carencia"},
		Short:   a.t("policy.grace-short"),
		Args:    a.takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var ns int64 // 0 is auto
			if args[0] != "auto" {
				grace, err := time.ParseDuration(args[0])
				if err != nil || grace <= 0 {
					return a.usage("policy.bad-grace", "Value", args[0])
				}
				ns = int64(grace)
			}
			return runPolicy(cmd.Context(), a, &schemas.Policy{Grace: &ns}, "")
		},
	}
}

// policyNickname is the nickname that a policy is set for: the one of the --nickname flag.
// A nickname from another source does not count; without the flag the policy is for all.
func policyNickname(a *app, cmd *cobra.Command) string {
	if cmd.Flags().Changed("nickname") {
		return a.flags.nickname
	}
	return ""
}

// runPolicy changes the policy as set says, unless set is nil, and prints the policies in
// force.
func runPolicy(ctx context.Context, a *app, set *schemas.Policy, nickname string) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	p, err := s.Policy(ctx, set, nickname)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(policyJSON(p))
	}
	m, err := s.Nodes(ctx)
	if err != nil {
		return err
	}
	printPolicy(a.console, p, placement.NewAssigned(m).Len())
	return nil
}

// printPolicy prints policies. nodes is the number of nodes that chunks can be assigned to.
func printPolicy(c *console, p *schemas.PolicyReply, nodes int) {
	degraded := p.Policy.Degraded != nil && *p.Policy.Degraded
	needs := func(d schemas.Durability) {
		if d.Nodes() > nodes && !degraded {
			c.println(c.alarm(yellow, c.t("policy.needs-nodes", "Durability", d.String(),
				"Wanted", c.number(int64(d.Nodes())), "Nodes", c.number(int64(nodes)))))
		}
	}
	if p.Policy.Durability == nil {
		c.println(c.t("policy.auto", "Durability", c.durability(p.Effective)))
	} else {
		c.println(c.durability(p.Effective))
	}
	needs(p.Effective)
	for _, n := range p.Nicknames {
		c.println(c.t("policy.nickname", "Nickname", c.show(n.Nickname), "Durability", c.durability(n.Durability)))
		needs(n.Durability)
	}
	if degraded {
		c.println(c.t("policy.degraded"))
	}
	if g := p.Policy.Grace; g != nil {
		c.println(c.t("policy.grace", "Time", c.took(time.Duration(*g))))
	}
}

// jsonPolicy is the JSON of the policies.
type jsonPolicy struct {
	Durability string            `json:"durability"` // "auto" without a policy
	Effective  string            `json:"effective"`
	Degraded   bool              `json:"degraded"`
	Grace      string            `json:"grace,omitempty"`
	Nicknames  map[string]string `json:"nicknames"`
}

func policyJSON(p *schemas.PolicyReply) jsonPolicy {
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
	return out
}
