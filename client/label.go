package client

import (
	"fmt"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// label is the sealed part of a version's record in the catalogue. It names the root and the record
// that it belongs to, so that servers cannot give a version the label or the root of another one.
type label struct {
	Root   schemas.ChunkID `msgpack:"root"`
	Record string          `msgpack:"record"`
	Host   string          `msgpack:"host"`
	Paths  []string        `msgpack:"paths"` // absolute, as they were saved
	Top    string          `msgpack:"top"`   // name of the folder whose content is at "."; empty if there is none
}

// sealLabel encodes and seals a label.
func sealLabel(k *seal.Keys, l *label) ([]byte, error) {
	plain, err := schemas.Marshal(l)
	if err != nil {
		return nil, err
	}
	return k.SealLabel(plain)
}

// openLabel opens the label of v and checks that it belongs to v.
func openLabel(k *seal.Keys, v *schemas.Version) (*label, error) {
	l := new(label)
	err := readLabel(k, v.Sealed, l)
	if err == nil && (l.Root != v.Root || l.Record != v.Record) {
		err = fmt.Errorf("it belongs to another version, of %q: %w", l.Record, seal.ErrDamaged)
	}
	if err != nil {
		return nil, &labelError{fmt.Errorf("open the label of %s: %w", v.ID, err)}
	}
	return l, nil
}

// labelError says that a version's label cannot be opened, whatever the reason. It says nothing
// about other versions.
type labelError struct{ error }

func (e *labelError) Unwrap() error { return e.error }

func readLabel(k *seal.Keys, sealed []byte, l *label) error {
	plain, err := k.OpenLabel(sealed)
	if err != nil {
		return err
	}
	return schemas.Unmarshal(plain, l)
}
