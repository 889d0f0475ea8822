package seal

import "testing"

func TestCompressionNames(t *testing.T) {
	for _, name := range compressionNames {
		if c, err := ParseCompression(name); err != nil || c.String() != name {
			t.Errorf("%s is read as %v, %v", name, c, err)
		}
	}
	if _, err := ParseCompression("max"); err == nil {
		t.Error("an unknown compression is accepted")
	}
}
