package members

import (
	"fmt"

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
		return nil, schemas.Explain(schemas.NoNode, "no-node-yet", "no storage node has registered yet")
	}
	code, others := whyNotWritable(nodes, needed)
	if needed == 1 {
		return nil, schemas.Explain(code, "no-node-takes-data", "no storage node takes data now{others}: start one", "others", others)
	}
	return nil, schemas.Explain(code, "too-few-nodes",
		"the durability {durability} needs {needed} storage nodes, {ready} take data now{others}: start more, or let the policy accept less",
		"durability", d.Wanted, "needed", needed, "ready", writable, "others", others)
}

// whyNotWritable lists the nodes that take no data, each with its state or its trouble. The code
// is the trouble of the nodes that are up, if enough nodes would take data without it.
func whyNotWritable(nodes *schemas.NodeMap, needed int) (code schemas.Code, others string) {
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
			all = append(all, n.Name+": "+n.Trouble)
		default:
			all = append(all, fmt.Sprintf("%s: %s", n.Name, n.State))
		}
	}
	return code, schemas.SayOthers(all)
}
