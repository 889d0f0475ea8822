package seal

import (
	"bytes"
	"errors"
	"testing"
)

func TestLabelRoundTrip(t *testing.T) {
	k, plain := New(testKey()), []byte("label")
	sealed, err := k.SealLabel(plain)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.OpenLabel(sealed); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("opened as %q, %v", got, err)
	}
	for n := range sealed {
		if _, err := k.OpenLabel(sealed[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestDataChunkIsNoLabel(t *testing.T) {
	k, plain := New(testKey()), []byte("label")
	id := k.DataID(plain)
	sealed, err := k.Seal(id[:], id, plain, CompressDefault)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.OpenLabel(sealed); !errors.Is(err, ErrDamaged) {
		t.Errorf("a data chunk opens as a label: %v", err)
	}
}
