package client

import (
	"fmt"

	"servidor-backup/schemas"
)

// KeyError says that the vault's key is needed, and is not in the key file. It is [ErrNoKey] if
// there is no such file; if the file has the key of other backups, its code is
// [schemas.OtherKey].
type KeyError struct {
	Nickname string
	File     string // the key file's path
	Missing  bool   // there is no such file
}

func (e *KeyError) Error() string {
	if e.Missing {
		return fmt.Sprintf("the backups of %q here were made with a key that is not on this machine: copy its file to %s", e.Nickname, e.File)
	}
	return fmt.Sprintf("the key in %s is not the key of the backups of %q here: copy the right one from the machine that made them", e.File, e.Nickname)
}

// Unwrap returns ErrNoKey, or an error with the code OtherKey.
func (e *KeyError) Unwrap() error {
	if e.Missing {
		return ErrNoKey
	}
	return schemas.Explain(schemas.OtherKey, "wrong-key", "this key is not the key of these backups")
}
