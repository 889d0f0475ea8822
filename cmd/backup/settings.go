package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"servidor-backup/client"
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

// setting is a value in force and where it comes from: "flag", "environment",
// "file", "discovery" or "default".
type setting struct {
	Value  string `json:"value"`
	Source string `json:"source"`
}

// settings are the values in force.
type settings struct {
	Server   setting `json:"server"`
	Data     setting `json:"data"` // instead of a server; see local.go
	Nickname setting `json:"nickname"`
	Lang     setting `json:"lang"`
	KeyFile  setting `json:"key_file"`

	Compression   setting `json:"compression"`
	LimitUpload   setting `json:"limit_upload"`
	LimitDownload setting `json:"limit_download"`

	File string `json:"file"` // the settings file, whether it is there or not
}

// settings decides every value: flags over environment over file over what is
// discovered or the default.
func (a *app) settings() (settings, error) {
	if a.fileErr != nil {
		return settings{}, a.fileErr
	}
	s := settings{
		Server:   a.serverSetting(),
		Data:     a.dataSetting(a.flags.data),
		Nickname: a.choose(a.flags.nickname, "BACKUP_NICKNAME", a.file.Nickname),
		KeyFile:  a.choose(a.flags.keyFile, "BACKUP_KEY_FILE", a.file.KeyFile),
		Lang:     a.choose(a.flags.lang, "BACKUP_LANG", a.file.Lang),

		Compression:   a.choose(a.flags.compression, "BACKUP_COMPRESSION", a.file.Compression),
		LimitUpload:   a.choose(a.flags.limitUpload, "BACKUP_LIMIT_UPLOAD", a.file.LimitUpload),
		LimitDownload: a.choose(a.flags.limitDownload, "BACKUP_LIMIT_DOWNLOAD", a.file.LimitDownload),
	}
	if err := a.serverOrData(&s); err != nil {
		return settings{}, err
	}
	if s.Nickname.Value == "" {
		s.Nickname.Value = nicknameOf(a.env.user())
	}
	if s.Compression.Value == "" {
		s.Compression.Value = client.CompressDefault.String()
	}
	if s.Lang.Value == "" {
		s.Lang.Value = a.lang
	}
	var err, keyErr error
	if s.KeyFile.Value == "" {
		s.KeyFile.Value, keyErr = a.defaultKeyPath(s.Nickname.Value)
	}
	s.File, err = a.configPath(a.flags.config)
	return s, errors.Join(err, keyErr)
}

// serverSetting is the server to talk to, found by itself if nothing names one.
func (a *app) serverSetting() setting {
	s := a.choose(a.flags.server, "BACKUP_SERVER", a.file.Server)
	if d, ok := a.discover(); ok && s.Value == "" {
		s = setting{d.URL, "discovery"}
	}
	return s
}

// dataSetting is the folder to work on without a server.
func (a *app) dataSetting(flag string) setting {
	return a.choose(flag, "BACKUP_DATA", a.file.Data)
}

// sources of settings, the strongest first.
var sources = []string{"flag", "environment", "file", "discovery", "default"}

// serverOrData leaves one of the two: what comes from the stronger source. Two
// from the same source are a mistake.
func (a *app) serverOrData(s *settings) error {
	server, data := slices.Index(sources, s.Server.Source), slices.Index(sources, s.Data.Source)
	switch {
	case s.Server.Value == "" || s.Data.Value == "":
	case server == data:
		return a.usage("error.server-and-data", "Server", s.Server.Value, "Folder", s.Data.Value)
	case server < data:
		s.Data = setting{"", "default"}
	default:
		s.Server = setting{"", "default"}
	}
	return nil
}

func (a *app) choose(flag, variable, file string) setting {
	if flag != "" {
		return setting{flag, "flag"}
	}
	if v := a.env.getenv(variable); v != "" {
		return setting{v, "environment"}
	}
	if file != "" {
		return setting{file, "file"}
	}
	return setting{"", "default"}
}

// nicknameOf is the nickname that an OS user has unless told otherwise. Windows
// puts the domain before the name.
func nicknameOf(user string) string {
	return user[strings.LastIndexByte(user, '\\')+1:]
}

// loadFile reads the settings file; one that is not there is empty.
func (a *app) loadFile(flag string) (fileSettings, error) {
	path, err := a.configPath(flag)
	if err != nil {
		return fileSettings{}, nil // settings reports it to who needs the path
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fileSettings{}, nil
	}
	if err != nil {
		return fileSettings{}, fmt.Errorf("reading the settings: %w", err)
	}
	return parseSettings(path, data)
}

// parseSettings reads TOML and names file, line and key of a mistake.
func parseSettings(path string, data []byte) (fileSettings, error) {
	var f fileSettings
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&f)
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
	return f, fmt.Errorf("reading the settings in %s: %w", path, err)
}

func lineOf(e *toml.DecodeError) int {
	line, _ := e.Position()
	return line
}

// settingsError is a mistake in the settings file: an unknown key, or else what
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

// settingsHeader begins every settings file.
const settingsHeader = "# Settings of backup(1). \"backup config\" rewrites this file.\n"

// saveFile writes the settings file.
func (a *app) saveFile(f fileSettings) (path string, err error) {
	path, err = a.configPath(a.flags.config)
	if err != nil {
		return "", err
	}
	text, err := toml.Marshal(f)
	if err != nil {
		return "", fmt.Errorf("writing the settings: %w", err)
	}
	if err := writePrivate(path, append([]byte(settingsHeader), text...)); err != nil {
		return "", fmt.Errorf("writing the settings: %w", err)
	}
	a.file = f
	return path, nil
}
