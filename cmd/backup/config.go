package main

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"servidor-backup/bus"
	"servidor-backup/client"
)

// config decides the value of every setting: flags over environment over settings file over
// what is discovered or the default.
type config struct {
	env     environment
	flags   *globalFlags
	words   *texts       // of mistakes
	file    fileSettings // content of the settings file
	fileErr error        // why the file could not be read
}

// setting is a value in force and its source: "flag", "environment", "file", "discovery" or
// "default".
type setting struct {
	Value  string `json:"value"`
	Source string `json:"source"`
}

// sources of settings, the strongest first.
var sources = []string{"flag", "environment", "file", "discovery", "default"}

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

	File string `json:"file"` // path of the settings file, whether it exists or not
}

// settings decides all values.
func (c *config) settings() (settings, error) {
	if c.fileErr != nil {
		return settings{}, c.fileErr
	}
	s := settings{
		Server:   c.server(),
		Data:     c.data(c.flags.data),
		Nickname: c.choose(c.flags.nickname, "BACKUP_NICKNAME", c.file.Nickname),
		KeyFile:  c.choose(c.flags.keyFile, "BACKUP_KEY_FILE", c.file.KeyFile),
		Lang:     c.choose(c.flags.lang, "BACKUP_LANG", c.file.Lang),

		Compression:   c.choose(c.flags.compression, "BACKUP_COMPRESSION", c.file.Compression),
		LimitUpload:   c.choose(c.flags.limitUpload, "BACKUP_LIMIT_UPLOAD", c.file.LimitUpload),
		LimitDownload: c.choose(c.flags.limitDownload, "BACKUP_LIMIT_DOWNLOAD", c.file.LimitDownload),
	}
	if err := c.serverOrData(&s); err != nil {
		return settings{}, err
	}
	if s.Nickname.Value == "" {
		s.Nickname.Value = defaultNickname(c.env.user())
	}
	if s.Compression.Value == "" {
		s.Compression.Value = client.CompressDefault.String()
	}
	if s.Lang.Value == "" {
		s.Lang.Value = c.words.lang
	}
	// Without a home folder both stay empty: commands that need one of them report it.
	if s.KeyFile.Value == "" {
		s.KeyFile.Value, _ = c.defaultKeyPath(s.Nickname.Value)
	}
	s.File, _ = c.path(c.flags.config)
	var err, keyErr error
	s.Data.Value, err = c.atHome(s.Data.Value)
	s.KeyFile.Value, keyErr = c.atHome(s.KeyFile.Value)
	return s, errors.Join(err, keyErr)
}

// server is the server to use; if nothing names one, the server that is discovered.
func (c *config) server() setting {
	s := c.choose(c.flags.server, "BACKUP_SERVER", c.file.Server)
	if d, ok := c.discover(); ok && s.Value == "" {
		s = setting{d.URL, "discovery"}
	}
	return s
}

// data is the folder to use without a server.
func (c *config) data(flag string) setting {
	return c.choose(flag, "BACKUP_DATA", c.file.Data)
}

// dataFolder is the absolute path of a folder that a flag names, or "".
func (c *config) dataFolder(flag string) (string, error) {
	if flag == "" {
		return "", nil
	}
	dir, err := c.atHome(flag)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// serverOrData keeps server or data, whichever has the stronger source. Both from the same
// source are a mistake.
func (c *config) serverOrData(s *settings) error {
	server, data := slices.Index(sources, s.Server.Source), slices.Index(sources, s.Data.Source)
	switch {
	case s.Server.Value == "" || s.Data.Value == "":
	case server == data:
		return c.words.usage("error.server-and-data", "Server", bus.Redact(s.Server.Value), "Folder", s.Data.Value)
	case server < data:
		s.Data = setting{"", "default"}
	default:
		s.Server = setting{"", "default"}
	}
	return nil
}

func (c *config) choose(flag, variable, file string) setting {
	if flag != "" {
		return setting{flag, "flag"}
	}
	// No setting begins or ends with spaces, but a file that was written elsewhere may have
	// given the variable the end of its line.
	if v := strings.TrimSpace(c.env.getenv(variable)); v != "" {
		return setting{v, "environment"}
	}
	if v := strings.TrimSpace(file); v != "" {
		return setting{v, "file"}
	}
	return setting{"", "default"}
}

// defaultNickname is the name of the OS user. Windows puts the domain before the name.
func defaultNickname(user string) string {
	return user[strings.LastIndexByte(user, '\\')+1:]
}

// language chooses the language of texts: flag over environment over settings file over
// locale.
func (c *config) language(flag string) string {
	for _, wish := range []string{flag, c.env.getenv("BACKUP_LANG"), c.file.Lang} {
		if lang := matchLanguage(wish); lang != "" {
			return lang
		}
	}
	// POSIX: the first of these variables that is set decides, even if it is "C".
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if locale := c.env.getenv(name); locale != "" {
			return cmp.Or(matchLanguage(locale), languages[0])
		}
	}
	return languages[0]
}
