package schemas

import (
	"fmt"
	"strings"
	"testing"

	"servidor-backup/schemas/doctest"
)

func TestProtocolDocVectors(t *testing.T) { doctest.WantVectors(t, protocolDoc, "ids", idVectors()) }

func idVectors() string {
	var b strings.Builder
	vault := PlainVault("ana")
	tree := Chunk{ID: filled[ChunkID](0x33), Kind: Tree, Trees: []ChunkID{filled[ChunkID](0x22)}, Data: []ChunkID{filled[ChunkID](0x11)}, Content: []byte("sealed")}
	fmt.Fprintf(&b, "sealed vault of \"ana\"           %v\n", SealedVault("ana"))
	fmt.Fprintf(&b, "plain vault of \"ana\"            %v\n", vault)
	fmt.Fprintf(&b, "id of \"oi\" in that plain vault  %v\n", PlainChunkID(vault, []byte("oi")))
	fmt.Fprintf(&b, "id of \"\" in that plain vault    %v\n", PlainChunkID(vault, nil))
	fmt.Fprintf(&b, "sum of the tree chunk below     %v\n", tree.Checksum())
	return b.String()
}
