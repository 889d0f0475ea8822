package main

import (
	"math"

	"servidor-backup/schemas"
)

// A site is what healing depends on.
type site struct {
	nodes    int
	size     float64 // bytes that each node holds
	network  float64 // bytes a second, each way, of a node
	disk     float64 // bytes a second of a node's disk, one after the other
	seek     float64 // seconds until a part that is anywhere on it begins to be read
	brokers  int
	broker   float64 // bytes a second that one NATS server takes in and gives out
	healRate float64 // bytes a second that a node may move for healing; 0 is no limit
}

const (
	kB, gB, tB = 1e3, 1e9, 1e12
	mB         = 1e6
	gbit       = 1e9 / 8
	chunkSize  = 512 << 10 // on average
)

// usual is what the tables vary: nodes with hard disks.
func usual() site {
	return site{nodes: 12, size: 4 * tB, network: gbit, disk: 150 * mB, seek: 0.008, brokers: 3, broker: 0.95 * gB}
}

// onFlash has the disks exchanged.
func (s site) onFlash() site {
	s.disk, s.seek = gB, 0.0001
	return s
}

// healing is in how many seconds all that one lost node held is made anew, and what
// limits it. It never is when fewer nodes are left than a set has.
//
// Every byte of a part that is made anew takes k bytes of others. One of them is at
// the node that makes it and need not travel; but what is made does, so k bytes pass
// the network in all cases. Parts are read in the order of their ids, which is none on
// the disk; they are written one after the other. The work is shared equally by the
// nodes that are left.
func (s site) healing(d schemas.Durability) (seconds float64, limit string) {
	left := float64(s.nodes - 1)
	if s.nodes-1 < d.Nodes() {
		return math.Inf(1), "no node"
	}
	k := float64(d.K)
	travels := s.size * k
	seconds, limit = travels/(left*s.network), "network"
	part := chunkSize / k
	if t := s.size / part * (k*(s.seek+part/s.disk) + part/s.disk) / left; t > seconds {
		seconds, limit = t, "disks"
	}
	if t := travels / (float64(s.brokers) * s.broker); t > seconds {
		seconds, limit = t, "brokers"
	}
	if s.healRate > 0 {
		if t := travels / (left * s.healRate); t > seconds {
			seconds, limit = t, "rate"
		}
	}
	return seconds, limit
}

// chunks is how many the site holds.
func (s site) chunks(d schemas.Durability) float64 {
	return float64(s.nodes) * s.size * float64(d.K) / float64(d.Nodes()) / chunkSize
}
