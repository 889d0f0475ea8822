package members

import (
	"context"
	"slices"
	"strings"
	"time"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// Policies are in the bucket of the nodes' cards, so that a change of a policy is a change of
// the map. Their keys have a dot, which no node id has:
//
//	policy.default         schemas.Policy
//	policy.of.NICKNAME     schemas.NicknamePolicy; K = 0 if it was taken back
const (
	// PolicyPrefix begins the keys of all policies.
	PolicyPrefix  = "policy."
	defaultPolicy = PolicyPrefix + "default"
)

func policyKey(nickname string) string { return PolicyPrefix + "of." + kv.Token(nickname) }

// applyPolicy applies a policy that the watch brings, under the lock.
func (m *Members) applyPolicy(e *kv.Entry) {
	var err error
	switch {
	case e.Key == defaultPolicy:
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

// fillPolicies fills in what the policies say about the nodes of a map, under the lock.
func (m *Members) fillPolicies(out *schemas.NodeMap) {
	out.Durability = m.defaultDurability(len(out.Nodes))
	out.Degraded = m.policy.Degraded != nil && *m.policy.Degraded
	most := out.Durability.M
	for _, p := range m.nicknamePolicies() {
		most = max(most, p.Durability.M)
		for _, v := range []schemas.VaultID{schemas.SealedVault(p.Nickname), schemas.PlainVault(p.Nickname)} {
			out.Vaults = append(out.Vaults, schemas.VaultPolicy{Vault: v, Durability: p.Durability})
		}
	}
	if len(out.Nodes) >= 2 {
		most = max(most, 1)
	}
	if most > out.Durability.M {
		// The catalogue's backup survives as many losses as the safest vault.
		out.Vaults = append(out.Vaults, schemas.VaultPolicy{Vault: schemas.CatalogueVault(), Durability: schemas.Durability{K: 1, M: most}})
	}
}

// defaultDurability is the durability of nicknames without a policy while there are that many
// nodes.
func (m *Members) defaultDurability(nodes int) schemas.Durability {
	switch {
	case m.policy.Durability != nil:
		return *m.policy.Durability
	case nodes >= 2:
		return schemas.Durability{K: 1, M: 1}
	}
	return schemas.Durability{K: 1}
}

// nicknamePolicies are the policies of nicknames that hold, sorted by nickname.
func (m *Members) nicknamePolicies() (all []schemas.NicknamePolicy) {
	for _, p := range m.nicknames {
		if p.Durability.K > 0 {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b schemas.NicknamePolicy) int { return strings.Compare(a.Nickname, b.Nickname) })
	return all
}

// grace is how long a node may be down until it is gone.
func (m *Members) grace() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.policy.Grace != nil {
		return time.Duration(*m.policy.Grace)
	}
	return m.opt.Grace
}

// SetPolicy answers backup.policy: it sets what the request sets, and tells what holds then.
func (m *Members) SetPolicy(ctx context.Context, req *schemas.PolicyRequest) (any, error) {
	if req.Set != nil {
		if err := checkPolicy(req); err != nil {
			return nil, err
		}
		if err := m.writePolicy(ctx, req.Nickname, req.Set); err != nil {
			return nil, err
		}
	}
	nodes := len(m.Map().Nodes)
	m.mu.Lock()
	defer m.mu.Unlock()
	return &schemas.PolicyReply{Reply: schemas.OK, Policy: m.policy, Effective: m.defaultDurability(nodes), Nicknames: m.nicknamePolicies()}, nil
}

// Bounds of a durability.
const (
	maxNodes    = 32 // over which the parts of a chunk are spread
	maxReplicas = 7  // of a chunk, beside the first one
)

func checkPolicy(req *schemas.PolicyRequest) error {
	p := req.Set
	if d := p.Durability; d != nil && d.K > 0 {
		switch {
		case d.Nodes() > maxNodes:
			return schemas.Explain(schemas.BadRequest, "durability-nodes", "the durability {durability} takes {nodes} nodes, at most {limit} are allowed", "durability", d, "nodes", d.Nodes(), "limit", maxNodes)
		case d.K == 1 && d.M > maxReplicas:
			return schemas.Explain(schemas.BadRequest, "durability-replicas", "the durability {durability} makes {replicas} replicas, at most {limit} are allowed: \"4+{parity}\" takes less space", "durability", d, "replicas", d.Replicas(), "limit", maxReplicas+1, "parity", d.M)
		}
	}
	switch {
	case req.Nickname == "":
	case p.Degraded != nil || p.Grace != nil:
		return schemas.Explain(schemas.BadRequest, "policy-for-all", "grace and degraded hold for all nicknames: set them without naming one")
	default:
		if err := schemas.CheckNickname(req.Nickname); err != nil {
			return err
		}
	}
	if p.Grace != nil && *p.Grace < 0 {
		return schemas.Explain(schemas.BadRequest, "grace-negative", "the grace period is negative")
	}
	return nil
}

// writePolicy writes what is set and waits until it holds.
func (m *Members) writePolicy(ctx context.Context, nickname string, set *schemas.Policy) (err error) {
	key, of := defaultPolicy, "the default"
	var revision uint64
	if nickname == "" {
		revision, err = m.writeDefault(ctx, set)
	} else {
		key, of = policyKey(nickname), nickname
		revision, err = m.writeNickname(ctx, key, nickname, set)
	}
	if err == nil {
		err = m.waitFor(ctx, revision)
	}
	if err == nil {
		m.opt.PolicyWritten(key)
		m.opt.Event(schemas.EventPolicyChanged, key, nickname, "the policy of %s was changed", of)
	}
	return err
}

func (m *Members) writeDefault(ctx context.Context, set *schemas.Policy) (revision uint64, err error) {
	var p schemas.Policy
	return m.bucket.Edit(ctx, defaultPolicy, &p, func() { p = schemas.Policy{} }, func() (bool, error) {
		if d := set.Durability; d != nil {
			if p.Durability = d; d.K == 0 {
				p.Durability = nil
			}
		}
		if set.Degraded != nil {
			p.Degraded = set.Degraded
		}
		if g := set.Grace; g != nil {
			if p.Grace = g; *g == 0 {
				p.Grace = nil
			}
		}
		return true, nil
	})
}

func (m *Members) writeNickname(ctx context.Context, key, nickname string, set *schemas.Policy) (revision uint64, err error) {
	var p schemas.NicknamePolicy
	return m.bucket.Edit(ctx, key, &p, func() { p = schemas.NicknamePolicy{} }, func() (bool, error) {
		p.Nickname = nickname
		if set.Durability != nil {
			p.Durability = *set.Durability
		}
		return true, nil
	})
}
