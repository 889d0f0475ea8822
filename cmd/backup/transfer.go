package main

import (
	"errors"
	"time"

	"github.com/spf13/pflag"

	"servidor-backup/client"
)

// minRate is the lowest limit that is accepted, in bytes per second. A lower one is almost
// certainly a number without its unit.
const minRate = 1 << 10

func addUploadFlags(a *app, f *pflag.FlagSet) {
	f.StringVar(&a.flags.compression, "compression", "", a.t("flag.compression"))
	f.StringVar(&a.flags.limitUpload, "limit-upload", "", a.t("flag.limit-upload"))
}

func addDownloadFlags(a *app, f *pflag.FlagSet) {
	f.StringVar(&a.flags.limitDownload, "limit-download", "", a.t("flag.limit-download"))
}

// addWaitFlag adds the flag that says how long a command under way waits for what is gone.
func addWaitFlag(a *app, f *pflag.FlagSet) {
	a.flags.wait = client.DefaultWait
	f.Var((*positiveTime)(&a.flags.wait), "wait", a.t("flag.wait"))
}

// setLimits sets the rate limits of opt from the settings.
func (c *config) setLimits(s *settings, opt *client.Options) (err error) {
	if opt.UploadLimit, err = c.rate(s.LimitUpload, "limit-upload", "BACKUP_LIMIT_UPLOAD", "limit_upload"); err != nil {
		return err
	}
	opt.DownloadLimit, err = c.rate(s.LimitDownload, "limit-download", "BACKUP_LIMIT_DOWNLOAD", "limit_download")
	return err
}

// checkTransferFlags checks the compression and the limits that were given as flags.
func (c *config) checkTransferFlags() error {
	given := settings{
		Compression: setting{client.CompressDefault.String(), "default"},
		LimitUpload: setting{c.flags.limitUpload, "flag"}, LimitDownload: setting{c.flags.limitDownload, "flag"},
	}
	if level := c.flags.compression; level != "" {
		given.Compression = setting{level, "flag"}
	}
	_, err := c.compression(given.Compression)
	if err == nil {
		err = c.setLimits(&given, new(client.Options))
	}
	return err
}

// compression parses the setting of that name.
func (c *config) compression(s setting) (client.Compression, error) {
	level, err := client.ParseCompression(s.Value)
	if err != nil {
		where := c.whereSet(s, "compression", "BACKUP_COMPRESSION", "compression")
		return level, c.mistake(s, c.words.t("error.compression", "Where", where, "Value", s.Value))
	}
	return level, nil
}

// rate parses a setting in bytes per second; 0 is no limit. flag, variable and key are the
// names of the setting in each source.
func (c *config) rate(s setting, flag, variable, key string) (int64, error) {
	if s.Value == "" {
		return 0, nil
	}
	where := c.whereSet(s, flag, variable, key)
	rate, ok := parseSize(s.Value)
	switch {
	case !ok:
		return 0, c.mistake(s, c.words.t("error.rate", "Where", where, "Value", s.Value))
	case rate > 0 && rate < minRate:
		return 0, c.mistake(s, c.words.t("error.rate-small", "Where", where, "Value", s.Value))
	}
	return rate, nil
}

// whereSet says where a setting has its value from: a flag, a variable, or a key of the
// settings file.
func (c *config) whereSet(s setting, flag, variable, key string) string {
	switch s.Source {
	case "flag":
		return "--" + flag
	case "environment":
		return variable
	}
	path, _ := c.path(c.flags.config) // no error: the setting was read from this file
	return path + ", " + key
}

// mistake is the error for a setting with an invalid value.
func (c *config) mistake(s setting, text string) error {
	if s.Source == "flag" {
		return &failure{exit: exitUsage, code: "usage", text: text, hint: c.words.t("hint.help")}
	}
	return &failure{exit: exitFailed, code: "settings", text: text}
}

// positiveTime is the value of a flag that takes a time above zero.
type positiveTime time.Duration

var _ pflag.Value = (*positiveTime)(nil)

func (p *positiveTime) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("not above zero")
	}
	*p = positiveTime(d)
	return err
}

func (p *positiveTime) String() string { return time.Duration(*p).String() }
func (p *positiveTime) Type() string   { return "duration" }
