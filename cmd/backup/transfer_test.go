package main

import (
	"path/filepath"
	"testing"

	"servidor-backup/client"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "4096": 4096, "500K": 500 << 10, "10m": 10 << 20, "1.5G": 3 << 29, "2T": 2 << 40,
		"10MB": 10 << 20, "10MiB": 10 << 20, "7b": 7, ".5k": 512,
	} {
		if got, ok := parseSize(text); got != want || !ok {
			t.Errorf("%q: %d, %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "K", "B", "iB", "5iB", "5i", "-1", "+1", "1e3", "0x10", "1_000", "1 K", "1,5M", "1.2.3", "10X", "KK", "1KK", "9999999999T", "inf", "NaN", "ten"} {
		if got, ok := parseSize(text); ok {
			t.Errorf("%q is parsed as %d", text, got)
		}
	}
}

// Limits and compression come from flag, environment or file, and reach the client.
func TestTransferSettings(t *testing.T) {
	c := filled(t)
	c.expect(t, exitDone, "transmit", "photos")
	if opt := c.backend.options; opt.UploadLimit != 0 || opt.DownloadLimit != 0 || c.backend.backups[0].Compression != client.CompressDefault {
		t.Errorf("without: %+v", opt)
	}
	path := c.writeConfig(t, "compression = 'best'\nlimit_upload = '1M'\nlimit_download = '2M'\n")
	c.vars["BACKUP_LIMIT_UPLOAD"] = "3M"
	c.expect(t, exitDone, "transmit", "photos", "--compression", "auto")
	c.expect(t, exitDone, "download", "photos", "--limit-download", "500K")
	if opt := c.backend.options; opt.UploadLimit != 3<<20 || opt.DownloadLimit != 500<<10 {
		t.Errorf("with all: %+v", opt)
	}
	c.expect(t, exitDone, "transmit", "photos", "--limit-upload", "0")
	if opt := c.backend.options; opt.UploadLimit != 0 || opt.DownloadLimit != 2<<20 {
		t.Errorf("without a limit: %+v", opt)
	}
	if a, b := c.backend.backups[1].Compression, c.backend.backups[2].Compression; a != client.CompressAuto || b != client.CompressBest {
		t.Errorf("compression %v, %v", a, b)
	}
	c.vars["BACKUP_LIMIT_UPLOAD"] = "much"
	c.expect(t, exitFailed, "list")
	contains(t, c.err.String(), `BACKUP_LIMIT_UPLOAD: "much" is not a rate`)
	c.vars["BACKUP_LIMIT_UPLOAD"] = ""
	c.writeConfig(t, "limit_download = '100'\ncompression = 'zip'\n")
	c.expect(t, exitFailed, "list")
	contains(t, c.err.String(), path+", limit_download: 100 bytes per second are less than 1K")
	c.writeConfig(t, "compression = 'zip'\n")
	c.expect(t, exitDone, "list") // list does not use it
	c.expect(t, exitFailed, "transmit", "photos", "--json")
	contains(t, c.err.String(), `"code":"settings"`, `unknown compression \"zip\"`)
}

func TestInvalidTransferFlags(t *testing.T) {
	c := filled(t)
	for _, args := range [][]string{
		{"transmit", "photos", "--limit-upload", "fast"},
		{"transmit", "photos", "--limit-upload=-5M"},
		{"transmit", "photos", "--limit-upload", "10"},
		{"transmit", "photos", "--compression", "9"},
		{"transmit", "photos", "--limit-download", "1M"},
		{"download", "photos", "--limit-download", "1.M.2"},
		{"config", "--limit-upload", "x"},
		{"config", "--compression", "x"},
	} {
		c.expect(t, exitUsage, args...)
	}
	if len(c.backend.backups)+len(c.backend.restores) > 0 {
		t.Error("a command ran")
	}
	c.expect(t, exitDone, "config", "--compression", "fast", "--limit-upload", "2M", "--limit-download", "0.5G")
	if s := c.shown(t); s.Compression != (setting{"fast", "file"}) || s.LimitUpload != (setting{"2M", "file"}) || s.LimitDownload != (setting{"0.5G", "file"}) {
		t.Errorf("%+v", s)
	}
	c.expect(t, exitDone, "config", "--unset", "limit-upload")
	if s := c.shown(t); s.LimitUpload.Value != "" || s.File != filepath.Join(c.home, ".config", folder, "config.toml") {
		t.Errorf("%+v", s)
	}
}
