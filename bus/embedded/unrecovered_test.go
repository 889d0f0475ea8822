package embedded

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// A stream that the NATS server does not recover, although its files can be read, keeps it from
// starting: here it is one that a lone server refuses.
func TestUnrecoveredStreamIsAnError(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, server.JetStreamStoreDir, "$G", streamsDir, "KV_b")
	meta := []byte(`{"name":"KV_b","subjects":["a"],"storage":"file","retention":"limits","discard":"old","num_replicas":3}`)
	err := errors.Join(
		os.MkdirAll(filepath.Join(folder, messageDir), 0o700),
		os.WriteFile(filepath.Join(folder, server.JetStreamMetaFile), meta, 0o600),
		os.WriteFile(filepath.Join(folder, server.JetStreamMetaFileSum), []byte(hex.EncodeToString(newHash("KV_b")(meta))), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(Options{Dir: dir})
	if err == nil {
		err = s.Shutdown()
		t.Fatalf("the server has started (%v)", err)
	}
	if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), folder) {
		t.Errorf("the error is %v, want one that names %s", err, folder)
	}
	if _, err := os.Stat(filepath.Join(folder, server.JetStreamMetaFile)); err != nil {
		t.Errorf("the stream's folder was removed: %v", err)
	}
}
