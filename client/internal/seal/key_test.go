package seal

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func TestSourceIDKeepsHostAndPathApart(t *testing.T) {
	if testKey().SourceID("a", "bc") == testKey().SourceID("ab", "c") {
		t.Error("two sources have the same id")
	}
	if testKey().SourceID("a", "b") == newVaultKey().SourceID("a", "b") {
		t.Error("the id does not depend on the key")
	}
}

func TestKeyDoesNotPrintItself(t *testing.T) {
	key := testKey()
	secret := hex.EncodeToString(key[:4])
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		out := fmt.Sprintf(format, key)
		if strings.Contains(out, secret) || strings.Contains(out, "0 1 2 3") || strings.Contains(out, "0x0, 0x1") {
			t.Errorf("%s prints the key: %s", format, out)
		}
	}
}
