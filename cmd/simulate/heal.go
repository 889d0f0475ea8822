package main

import (
	"math"

	"servidor-backup/schemas"
)

// A site holds the parameters of the model of healing.
type site struct {
	nodes    int
	size     float64 // bytes that each node holds
	network  float64 // network bandwidth of a node in bytes per second, in each direction
	disk     float64 // sequential bandwidth of a node's disk in bytes per second
	seek     float64 // time to find a part on the disk, in seconds
	servers  int     // number of NATS servers
	relay    float64 // bytes per second that one NATS server receives and sends on
	healRate float64 // limit of a node's traffic for healing in bytes per second; 0 for none
}

const (
	kB, gB, tB = 1e3, 1e9, 1e12
	mB         = 1e6
	gbit       = 1e9 / 8
	chunkSize  = 512 << 10 // average size of a chunk in bytes
)

// defaultSite returns the site that the tables vary: 12 nodes with hard disks of 4 TB.
func defaultSite() site {
	return site{
		nodes: 12, size: 4 * tB, network: gbit, disk: 150 * mB, seek: 0.008,
		servers: 3, relay: 0.95 * gB,
	}
}

// withFlash returns the site with flash instead of hard disks.
func (s site) withFlash() site {
	s.disk, s.seek = gB, 0.0001
	return s
}

// healingTime returns the time to rebuild all parts of one lost node, and the resource
// that limits it. The time is infinite if fewer nodes are left than a chunk has parts.
//
// To rebuild one byte of a part, k bytes of other parts are read. One of these is on the
// node that makes the part and does not cross the network, but the new byte does. So k
// bytes cross the network in all cases. Parts are read in the order of their ids, which is
// a random order on the disk, and written sequentially. The remaining nodes share the work
// equally.
func (s site) healingTime(d schemas.Durability) (seconds float64, limit string) {
	left := float64(s.nodes - 1)
	if s.nodes-1 < d.Nodes() {
		return math.Inf(1), "too few nodes"
	}
	k := float64(d.K)
	traffic := s.size * k
	seconds, limit = traffic/(left*s.network), "network"
	part := chunkSize / k
	if t := s.size / part * (k*(s.seek+part/s.disk) + part/s.disk) / left; t > seconds {
		seconds, limit = t, "disks"
	}
	if t := traffic / (float64(s.servers) * s.relay); t > seconds {
		seconds, limit = t, "NATS servers"
	}
	if s.healRate > 0 {
		if t := traffic / (left * s.healRate); t > seconds {
			seconds, limit = t, "rate"
		}
	}
	return seconds, limit
}

// chunks returns the number of chunks that fill the site.
func (s site) chunks(d schemas.Durability) float64 {
	return float64(s.nodes) * s.size * float64(d.K) / float64(d.Nodes()) / chunkSize
}
