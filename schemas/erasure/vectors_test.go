package erasure

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"servidor-backup/schemas"
	"servidor-backup/schemas/doctest"
)

func TestShardDocVectors(t *testing.T) {
	doctest.WantVectors(t, filepath.Join("..", "..", "docs", "protocol.md"), "shards", shardVectors(t))
}

func shardVectors(t *testing.T) string {
	c := schemas.Chunk{ID: schemas.ChunkID{1}, Kind: schemas.Data, Content: []byte("hello")}
	shards, _, err := Split(schemas.Durability{K: 2, M: 2}, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i := range shards {
		fmt.Fprintf(&b, "%d    %x\n", i, shards[i].Content[shardHead:])
	}
	return b.String()
}
