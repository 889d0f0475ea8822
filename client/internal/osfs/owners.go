package osfs

import (
	"os/user"
	"strconv"
	"sync"
)

// OwnerNames finds the names of numeric owners. [OwnerIDs] is the inverse. Each owner is
// looked up once. It may be used concurrently.
type OwnerNames struct {
	users, groups cache[uint32, string]
}

// NewOwnerNames returns an empty one.
func NewOwnerNames() *OwnerNames {
	return &OwnerNames{
		users: cache[uint32, string]{find: func(id uint32) string {
			if u, err := user.LookupId(strconv.FormatUint(uint64(id), 10)); err == nil {
				return u.Username
			}
			return ""
		}},
		groups: cache[uint32, string]{find: func(id uint32) string {
			if g, err := user.LookupGroupId(strconv.FormatUint(uint64(id), 10)); err == nil {
				return g.Name
			}
			return ""
		}},
	}
}

// User returns a user's name, or "" if there is none.
func (o *OwnerNames) User(uid uint32) string { return o.users.get(uid) }

// Group returns a group's name, or "" if there is none.
func (o *OwnerNames) Group(gid uint32) string { return o.groups.get(gid) }

// OwnerIDs finds the numbers of owners by name. Each owner is looked up once. It may be used
// concurrently.
type OwnerIDs struct {
	users, groups cache[string, int]
}

// NewOwnerIDs returns an empty one.
func NewOwnerIDs() *OwnerIDs {
	return &OwnerIDs{
		users: cache[string, int]{find: func(name string) int {
			if u, err := user.Lookup(name); err == nil {
				return parseID(u.Uid)
			}
			return -1
		}},
		groups: cache[string, int]{find: func(name string) int {
			if g, err := user.LookupGroup(name); err == nil {
				return parseID(g.Gid)
			}
			return -1
		}},
	}
}

// User returns a user's number, or -1 if there is none.
func (o *OwnerIDs) User(name string) int { return o.users.get(name) }

// Group returns a group's number, or -1 if there is none.
func (o *OwnerIDs) Group(name string) int { return o.groups.get(name) }

// parseID parses a numeric owner. Owners on Windows are not numbers, and give -1.
func parseID(s string) int {
	if id, err := strconv.ParseUint(s, 10, 32); err == nil {
		return int(id)
	}
	return -1
}

// cache remembers what find returned. It may be used concurrently.
type cache[K comparable, V any] struct {
	find func(K) V
	mu   sync.Mutex
	m    map[K]V
}

func (c *cache[K, V]) get(k K) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.m[k]
	if !ok {
		if c.m == nil {
			c.m = make(map[K]V)
		}
		v = c.find(k)
		c.m[k] = v
	}
	return v
}
