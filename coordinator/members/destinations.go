package members

import (
	"fmt"
	"strings"

	"servidor-backup/schemas"
)

// Destinations are the nodes to which new data of a vault can be sent, and the durability
// that it has there.
type Destinations struct {
	Map    *schemas.NodeMap
	Wanted schemas.Durability // the vault's
	// Durability is what there are nodes for. Its M is smaller than the vault's if the
	// policy allows degraded sessions and nodes are missing.
	Durability schemas.Durability
}

// Degraded reports whether new data survives fewer losses than the vault's durability says.
func (d *Destinations) Degraded() bool { return d.Durability.M < d.Wanted.M }

// FindDestinations finds the destinations of a vault, or returns an error that says which
// nodes are missing. Plain chunks are stored whole, so they need fewer nodes.
func FindDestinations(nodes *schemas.NodeMap, vault schemas.VaultID, plain bool) (*Destinations, error) {
	d := &Destinations{Map: nodes, Wanted: nodes.DurabilityOf(vault)}
	d.Durability = d.Wanted
	if plain {
		d.Durability.K = 1
	}
	writable, needed := len(nodes.Writable()), d.Durability.Nodes()
	switch {
	case writable >= needed:
		return d, nil
	case nodes.Degraded && writable >= int(d.Durability.K):
		d.Durability.M = uint8(writable) - d.Durability.K
		return d, nil
	case len(nodes.Nodes) == 0:
		return nil, schemas.Errorf(schemas.NoNode, "no storage node has registered yet")
	}
	code, reasons := whyNotWritable(nodes, needed)
	if needed == 1 {
		return nil, schemas.Errorf(code, "no storage node takes data now%s: start one", reasons)
	}
	return nil, schemas.Errorf(code, "the durability %v needs %d storage nodes, %d take data now%s: start more, or let the policy accept less", d.Wanted, needed, writable, reasons)
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
