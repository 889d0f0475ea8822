package members

import (
	"fmt"
	"strings"

	"servidor-backup/schemas"
)

// Targets is where, and with which durability, new data of a vault can be stored.
type Targets struct {
	Map    *schemas.NodeMap
	Wanted schemas.Durability // the vault's
	// Durability is what there are nodes for. Its M is smaller than the vault's if the
	// policy allows degraded sessions and nodes are missing.
	Durability schemas.Durability
}

// Degraded reports whether new data survives fewer losses than the vault's durability says.
func (t *Targets) Degraded() bool { return t.Durability.M < t.Wanted.M }

// FindTargets finds the targets of a vault, or returns an error that says which nodes are
// missing. Plain chunks are stored whole, so they need fewer nodes.
func FindTargets(nodes *schemas.NodeMap, vault schemas.VaultID, plain bool) (*Targets, error) {
	t := &Targets{Map: nodes, Wanted: nodes.DurabilityOf(vault)}
	t.Durability = t.Wanted
	if plain {
		t.Durability.K = 1
	}
	writable, needed := len(nodes.Writable()), t.Durability.Nodes()
	switch {
	case writable >= needed:
		return t, nil
	case nodes.Degraded && writable >= int(t.Durability.K):
		t.Durability.M = uint8(writable) - t.Durability.K
		return t, nil
	case len(nodes.Nodes) == 0:
		return nil, schemas.Errorf(schemas.NoNode, "no storage node has registered yet")
	}
	code, reasons := whyNotWritable(nodes, needed)
	if needed == 1 {
		return nil, schemas.Errorf(code, "no storage node takes data now%s: start one", reasons)
	}
	return nil, schemas.Errorf(code, "the durability %v needs %d storage nodes, %d take data now%s: start more, or let the policy accept less", t.Wanted, needed, writable, reasons)
}

// whyNotWritable lists the nodes that take no data, in parentheses. The code is the trouble of
// the nodes that are up, if enough nodes would take data without it.
func whyNotWritable(nodes *schemas.NodeMap, needed int) (code schemas.Code, reasons string) {
	code = schemas.NoNode
	up := len(nodes.Writable())
	var all []string
	for i := range nodes.Nodes {
		switch n := &nodes.Nodes[i]; {
		case n.Writable():
		case n.State == schemas.Up:
			if up++; up >= needed {
				code = schemas.Code(n.Trouble)
			}
			all = append(all, fmt.Sprintf("%s says %s", n.Name, n.Trouble))
		default:
			all = append(all, fmt.Sprintf("%s is %s", n.Name, n.State))
		}
	}
	if len(all) > 0 {
		reasons = " (" + strings.Join(all, ", ") + ")"
	}
	return code, reasons
}
