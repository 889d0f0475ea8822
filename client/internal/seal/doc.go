// Package seal turns content into sealed chunks and sealed chunks back into content. It
// is the only package that computes with key material.
//
// A vault has one secret, the [VaultKey], which the user keeps in a key file. Every other
// key is derived from it by BLAKE3 in its key derivation mode, each for one purpose, and
// is held by [Keys].
//
// A chunk's id is a keyed hash of its content: equal content in one vault has one id, so
// it is stored once, and nobody without the key can test whether a vault holds some known
// content. The id of a tree chunk covers its clear edges too.
//
// Sealing has two steps. Packing makes the plaintext smaller with zstd, where that pays;
// a [Packer] chooses the level. Encrypting writes the frame: AES-256-GCM under a key that
// is derived from the chunk's id. Unless it is told not to, [Keys.SealPacked] opens every
// frame again before it leaves this machine, because a chunk that bad memory has spoilt
// would be found only at a restore.
//
// A frame opens as the chunk that it was sealed as, or not at all. Whatever is wrong with
// it, the error is [ErrDamaged]; a frame whose first byte says that it is of a newer version
// has the code [schemas.TooNew] as well. Opening allocates no more than a chunk's size, whatever a
// frame claims.
//
// docs/formats.md specifies the key file, the derivation of keys, ids and the frame, with
// vectors.
package seal
