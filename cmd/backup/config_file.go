package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode/utf16"

	"github.com/pelletier/go-toml/v2"

	"servidor-backup/bus"
)

// fileSettings is the settings file, in TOML.
type fileSettings struct {
	Server   string `toml:"server,omitempty"`
	Data     string `toml:"data,omitempty"`
	Nickname string `toml:"nickname,omitempty"`
	Lang     string `toml:"lang,omitempty"`
	KeyFile  string `toml:"key_file,omitempty"`

	Compression   string `toml:"compression,omitempty"`
	LimitUpload   string `toml:"limit_upload,omitempty"`
	LimitDownload string `toml:"limit_download,omitempty"`
}

// loadFile reads the settings file; a file that does not exist is empty.
func (c *config) loadFile(flag string) (fileSettings, error) {
	path, err := c.path(flag)
	if err != nil && (flag != "" || c.env.getenv("BACKUP_CONFIG") != "") {
		return fileSettings{}, err
	}
	if err != nil {
		return fileSettings{}, nil // settings reports the error to commands that need the path
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fileSettings{}, nil
	}
	if err != nil {
		return fileSettings{}, fmt.Errorf("read the settings: %w", err)
	}
	return parseSettings(path, data)
}

// parseSettings reads TOML. Of a mistake it reports file, line and key.
func parseSettings(path string, data []byte) (fileSettings, error) {
	var f fileSettings
	err := toml.NewDecoder(bytes.NewReader(plainText(data))).DisallowUnknownFields().Decode(&f)
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case err == nil:
		return f, nil
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		first := &unknown.Errors[0]
		return f, &settingsError{path: path, line: lineOf(first), key: strings.Join(first.Key(), ".")}
	case errors.As(err, &wrong):
		return f, &settingsError{path: path, line: lineOf(wrong), detail: strings.TrimPrefix(wrong.Error(), "toml: ")}
	}
	return f, fmt.Errorf("read the settings in %s: %w", path, err)
}

// plainText is a text file as UTF-8 without a byte order mark, whatever editor has saved it.
func plainText(data []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	}
	var units []uint16
	for data = data[2:]; len(data) >= 2; data = data[2:] {
		units = append(units, order.Uint16(data))
	}
	return []byte(string(utf16.Decode(units)))
}

func lineOf(e *toml.DecodeError) int {
	line, _ := e.Position()
	return line
}

// settingsError is a mistake in the settings file: an unknown key, or without a key, what
// detail says.
type settingsError struct {
	path        string
	line        int
	key, detail string
}

func (e *settingsError) Error() string {
	if e.key != "" {
		return fmt.Sprintf("%s:%d: unknown setting %q", e.path, e.line, e.key)
	}
	return fmt.Sprintf("%s:%d: %s", e.path, e.line, e.detail)
}

// noticeReadablePassword tells if others can read the settings file and the password in it.
func (a *app) noticeReadablePassword(s *settings) {
	if s.Server.Source != "file" || bus.Redact(s.Server.Value) == s.Server.Value || a.env.goos == "windows" {
		return
	}
	if info, err := os.Stat(s.File); err == nil && info.Mode().Perm()&0o077 != 0 {
		a.notice(a.t("console.readable-password", "File", s.File))
	}
}

// settingsHeader begins every settings file.
const settingsHeader = "# Settings of backup(1). \"backup config\" rewrites this file.\n"

// saveFile writes the settings file.
func (c *config) saveFile(f fileSettings) (path string, err error) {
	path, err = c.path(c.flags.config)
	if err != nil {
		return "", err
	}
	text, err := toml.Marshal(f)
	if err != nil {
		return "", fmt.Errorf("write the settings: %w", err)
	}
	if err := writePrivate(path, append([]byte(settingsHeader), text...)); err != nil {
		return "", fmt.Errorf("write the settings: %w", err)
	}
	c.file = f
	return path, nil
}
