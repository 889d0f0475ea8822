package coordinator

import (
	"context"
	"slices"
	"strings"
	"time"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// Policies are in the bucket of the nodes' cards, so that a policy that changes is a
// change of the map. Their keys have a dot, which no node id has:
//
//	policy.default         schemas.Policy
//	policy.of.NICKNAME     schemas.NicknamePolicy; K = 0 if it was taken back
const (
	policyPrefix  = "policy."
	policyDefault = policyPrefix + "default"
)

func policyKey(nickname string) string { return policyPrefix + "of." + kv.Token(nickname) }

// seenPolicy is told by the watch, under the lock.
func (m *members) seenPolicy(e *kv.Entry) {
	var err error
	switch {
	case e.Key == policyDefault:
		var p schemas.Policy
		if !e.Deleted {
			err = e.Decode(&p)
		}
		if err == nil {
			m.policy = p
		}
	case e.Deleted:
		delete(m.nicknames, e.Key)
	default:
		var p schemas.NicknamePolicy
		if err = e.Decode(&p); err == nil {
			m.nicknames[e.Key] = p
		}
	}
	if err != nil {
		m.opt.Log.Error("a policy cannot be read", "key", e.Key, "error", err)
	}
}

// applyPolicies fills in what the policies say of the map's nodes, under the lock.
func (m *members) applyPolicies(out *schemas.NodeMap) {
	out.Durability = m.effective(len(out.Nodes))
	out.Degraded = m.policy.Degraded != nil && *m.policy.Degraded
	most := out.Durability.M
	for _, p := range m.decided() {
		most = max(most, p.Durability.M)
		for _, v := range []schemas.VaultID{schemas.SealedVault(p.Nickname), schemas.PlainVault(p.Nickname)} {
			out.Vaults = append(out.Vaults, schemas.VaultPolicy{Vault: v, Durability: p.Durability})
		}
	}
	if len(out.Nodes) >= 2 {
		most = max(most, 1)
	}
	if most > out.Durability.M {
		// The catalogue's copies are kept as well as whatever is kept best.
		out.Vaults = append(out.Vaults, schemas.VaultPolicy{Vault: schemas.CatalogueVault(), Durability: schemas.Durability{K: 1, M: most}})
	}
}

// effective is the durability of who has no policy, while so many nodes are known.
func (m *members) effective(known int) schemas.Durability {
	switch {
	case m.policy.Durability != nil:
		return *m.policy.Durability
	case known >= 2:
		return schemas.Durability{K: 1, M: 1}
	}
	return schemas.Durability{K: 1}
}

// decided are the policies of nicknames, sorted.
func (m *members) decided() (all []schemas.NicknamePolicy) {
	for _, p := range m.nicknames {
		if p.Durability.K > 0 {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b schemas.NicknamePolicy) int { return strings.Compare(a.Nickname, b.Nickname) })
	return all
}

// grace is for how long a node may be down.
func (m *members) grace() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.policy.Grace != nil {
		return time.Duration(*m.policy.Grace)
	}
	return m.opt.Grace
}

// setPolicy answers backup.policy.
func (c *Coordinator) setPolicy(ctx context.Context, req *schemas.PolicyRequest) (any, error) {
	if req.Set != nil {
		if err := checkPolicy(req); err != nil {
			return nil, err
		}
		if err := c.members.decide(ctx, req.Nickname, req.Set); err != nil {
			return nil, err
		}
	}
	m := c.members
	known := len(m.nodeMap().Nodes)
	m.mu.Lock()
	defer m.mu.Unlock()
	return &schemas.PolicyReply{Reply: schemas.OK, Policy: m.policy, Effective: m.effective(known), Nicknames: m.decided()}, nil
}

// Bounds of a durability: over so many nodes chunks are spread at most, and copies
// are made beside the first.
const (
	maxNodes  = 32
	maxCopies = 7
)

func checkPolicy(req *schemas.PolicyRequest) error {
	p := req.Set
	if d := p.Durability; d != nil && d.K > 0 {
		switch {
		case d.Nodes() > maxNodes:
			return schemas.Errorf(schemas.BadRequest, "the durability %v takes %d nodes, at most %d are allowed", d, d.Nodes(), maxNodes)
		case d.K == 1 && d.M > maxCopies:
			return schemas.Errorf(schemas.BadRequest, "the durability %v makes %d copies, at most %d are allowed: \"4+%d\" takes less room", d, d.Replicas(), maxCopies+1, d.M)
		}
	}
	switch {
	case req.Nickname == "":
	case p.Degraded != nil || p.Grace != nil:
		return schemas.Errorf(schemas.BadRequest, "a nickname has no grace time and no leave to go on with fewer nodes of its own")
	default:
		if err := schemas.CheckNickname(req.Nickname); err != nil {
			return err
		}
	}
	if p.Grace != nil && *p.Grace < 0 {
		return schemas.Errorf(schemas.BadRequest, "the grace time is less than nothing")
	}
	return nil
}

// decide writes what is set and waits until it holds.
func (m *members) decide(ctx context.Context, nickname string, set *schemas.Policy) error {
	key, text := policyDefault, "the default"
	var revision uint64
	var err error
	if nickname == "" {
		var p schemas.Policy
		revision, err = m.kv.Edit(ctx, key, &p, func() { p = schemas.Policy{} }, func() (bool, error) {
			if d := set.Durability; d != nil {
				if p.Durability = d; d.K == 0 {
					p.Durability = nil
				}
			}
			if set.Degraded != nil {
				p.Degraded = set.Degraded
			}
			if set.Grace != nil {
				p.Grace = set.Grace
			}
			return true, nil
		})
	} else {
		key, text = policyKey(nickname), nickname
		var p schemas.NicknamePolicy
		revision, err = m.kv.Edit(ctx, key, &p, func() { p = schemas.NicknamePolicy{} }, func() (bool, error) {
			p.Nickname = nickname
			if set.Durability != nil {
				p.Durability = *set.Durability
			}
			return true, nil
		})
	}
	if err == nil {
		err = m.reach(ctx, revision)
	}
	if err == nil {
		m.wrote(key)
		m.event(schemas.EventPolicyChanged, key, nickname, "the policy of %s was changed", text)
	}
	return err
}
