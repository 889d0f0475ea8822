package main

import (
	"github.com/spf13/pflag"

	"servidor-backup/client"
)

// minRate is the lowest limit that is taken, in bytes a second: who wrote less
// has forgotten a letter.
const minRate = 1 << 10

// addUploadFlags adds what can be said of sending, addDownloadFlags of fetching.
func (a *app) addUploadFlags(f *pflag.FlagSet) {
	f.StringVar(&a.flags.compression, "compression", "", a.t("flag.compression"))
	f.StringVar(&a.flags.limitUpload, "limit-upload", "", a.t("flag.limit-upload"))
}

func (a *app) addDownloadFlags(f *pflag.FlagSet) {
	f.StringVar(&a.flags.limitDownload, "limit-download", "", a.t("flag.limit-download"))
}

// limits puts the limits that the settings name into opt.
func (a *app) limits(s *settings, opt *client.Options) (err error) {
	if opt.UploadLimit, err = a.rateLimit(s.LimitUpload, "limit-upload", "BACKUP_LIMIT_UPLOAD", "limit_upload"); err != nil {
		return err
	}
	opt.DownloadLimit, err = a.rateLimit(s.LimitDownload, "limit-download", "BACKUP_LIMIT_DOWNLOAD", "limit_download")
	return err
}

// checkTransferFlags checks those of the flags that were given.
func (a *app) checkTransferFlags() error {
	given := settings{
		Compression: setting{client.CompressDefault.String(), "default"},
		LimitUpload: setting{a.flags.limitUpload, "flag"}, LimitDownload: setting{a.flags.limitDownload, "flag"},
	}
	if c := a.flags.compression; c != "" {
		given.Compression = setting{c, "flag"}
	}
	_, err := a.compression(given.Compression)
	if err == nil {
		err = a.limits(&given, new(client.Options))
	}
	return err
}

// compression is how hard to compress.
func (a *app) compression(s setting) (client.Compression, error) {
	c, err := client.ParseCompression(s.Value)
	if err != nil {
		where := a.named(s, "compression", "BACKUP_COMPRESSION", "compression")
		return c, a.mistake(s, a.t("error.compression", "Where", where, "Value", s.Value))
	}
	return c, nil
}

// rateLimit is a setting as bytes a second, 0 for no limit.
func (a *app) rateLimit(s setting, flag, variable, key string) (int64, error) {
	if s.Value == "" {
		return 0, nil
	}
	where := a.named(s, flag, variable, key)
	rate, ok := parseSize(s.Value)
	switch {
	case !ok:
		return 0, a.mistake(s, a.t("error.rate", "Where", where, "Value", s.Value))
	case rate > 0 && rate < minRate:
		return 0, a.mistake(s, a.t("error.rate-small", "Where", where, "Value", s.Value))
	}
	return rate, nil
}

// named is the place at which a setting was made.
func (a *app) named(s setting, flag, variable, key string) string {
	switch s.Source {
	case "flag":
		return "--" + flag
	case "environment":
		return variable
	}
	path, _ := a.configPath(a.flags.config) // it was read from there
	return path + ", " + key
}

// mistake is a setting that cannot be understood.
func (a *app) mistake(s setting, text string) error {
	if s.Source == "flag" {
		return &failure{exit: exitUsage, code: "usage", text: text, hint: a.t("hint.help")}
	}
	return &failure{exit: exitFailed, code: "settings", text: text}
}
