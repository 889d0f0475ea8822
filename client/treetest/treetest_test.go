package treetest

import "testing"

func TestEqualSeedsMakeEqualTrees(t *testing.T) {
	a, b := New(t, 7, Small), New(t, 7, Small)
	for _, d := range Compare(a, b, Ignore{}) {
		t.Error(d)
	}
}
