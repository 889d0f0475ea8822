package tree

import (
	"errors"
	"reflect"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/seal"
)

func TestLargeXattrsRoundTrip(t *testing.T) {
	want := []Xattr{{"user.a", clienttest.Noise(1, 64<<10)}, {"user.b", clienttest.Noise(2, 64<<10)}, {"user.c", []byte("c")}}
	b, err := EncodeXattrs(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeXattrs(b)
	if err != nil || !reflect.DeepEqual(want, got) {
		t.Errorf("the attributes that are read differ: %v", err)
	}
	if _, err := DecodeXattrs(b[:len(b)-1]); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("cut off: %v", err)
	}
	if _, err := EncodeXattrs([]Xattr{{"user.a", make([]byte, MaxXattrs)}}); err == nil {
		t.Error("more than MaxXattrs bytes of attributes are accepted")
	}
	if _, err := EncodeXattrs([]Xattr{{"user.b", nil}, {"user.b", nil}}); err == nil {
		t.Error("one name is accepted twice")
	}
}

func FuzzXattrs(f *testing.F) {
	b, _ := EncodeXattrs(fullEntry().Xattrs)
	f.Add(b)
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		xs, err := DecodeXattrs(b)
		if err != nil {
			return
		}
		again, err := EncodeXattrs(xs)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeXattrs(again); err != nil || !gocmp.Equal(xs, back, sameEntry) {
			t.Errorf("does not round-trip: %v", err)
		}
	})
}
