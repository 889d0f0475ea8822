//go:build unix

package osfs

import "testing"

// The superuser has a name on every Unix system.
func TestOwnersAreFoundByNameAndNumber(t *testing.T) {
	name := NewOwnerNames().User(0)
	if name == "" {
		t.Fatal("the user with the number 0 has no name")
	}
	if got := NewOwnerIDs().User(name); got != 0 {
		t.Errorf("%s is %d, want 0", name, got)
	}
	if got := NewOwnerIDs().User("no such user"); got != -1 {
		t.Errorf("an unknown user is %d, want -1", got)
	}
}
