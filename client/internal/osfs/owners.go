package osfs

import (
	"os/user"
	"strconv"
	"sync"
)

// OwnerNames knows the names of numeric owners, "" where there is none;
// [OwnerIDs] is the way back. Every owner is looked up once.
type OwnerNames struct {
	User, Group cache[uint32, string]
}

func NewOwnerNames() *OwnerNames {
	return &OwnerNames{
		User: cache[uint32, string]{find: func(id uint32) string {
			if u, err := user.LookupId(strconv.FormatUint(uint64(id), 10)); err == nil {
				return u.Username
			}
			return ""
		}},
		Group: cache[uint32, string]{find: func(id uint32) string {
			if g, err := user.LookupGroupId(strconv.FormatUint(uint64(id), 10)); err == nil {
				return g.Name
			}
			return ""
		}},
	}
}

// OwnerIDs knows the numbers of owners by name; -1 where there is none.
type OwnerIDs struct {
	User, Group cache[string, int]
}

func NewOwnerIDs() *OwnerIDs {
	return &OwnerIDs{
		User: cache[string, int]{find: func(name string) int {
			if u, err := user.Lookup(name); err == nil {
				return parseID(u.Uid)
			}
			return -1
		}},
		Group: cache[string, int]{find: func(name string) int {
			if g, err := user.LookupGroup(name); err == nil {
				return parseID(g.Gid)
			}
			return -1
		}},
	}
}

// parseID reads a numeric owner; Windows has others, which are none here.
func parseID(s string) int {
	if id, err := strconv.ParseUint(s, 10, 32); err == nil {
		return int(id)
	}
	return -1
}

// cache remembers what find found. It may be used concurrently.
type cache[K comparable, V any] struct {
	find func(K) V
	mu   sync.Mutex
	m    map[K]V
}

func (c *cache[K, V]) Get(k K) V {
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
