package main

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

func newConfig(a *app) *cobra.Command {
	var unset []string
	cmd := &cobra.Command{
		Use:     "config",
		Aliases: []string{"configurar", "configuracoes", "configurações"},
		Short:   a.t("config.short"),
		Long:    a.t("config.long"),
		Args:    a.takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			changed := cmd.Flags().Changed
			if slices.ContainsFunc(settingFlags, changed) || unset != nil {
				return setSettings(a, changed, unset)
			}
			if !a.inTerminal {
				return a.usage("config.nothing")
			}
			p := newPrompter(a.console, a.in)
			defer p.close()
			err := askSettings(cmd.Context(), a, p)
			if errors.Is(err, io.EOF) {
				return a.fail("no-answer", nil, "config.no-answer")
			}
			return err
		},
	}
	addUploadFlags(a, cmd.Flags())
	addDownloadFlags(a, cmd.Flags())
	cmd.Flags().StringArrayVar(&unset, "unset", nil, a.t("config.flag-unset"))
	cmd.AddCommand(&cobra.Command{
		Use:   "show",
		Short: a.t("config.show-short"),
		Args:  a.takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return showSettings(a) },
	})
	return cmd
}

// settingFlags are the flags that are settings.
var settingFlags = []string{"server", "data", "nickname", "lang", "key-file", "compression", "limit-upload", "limit-download"}

// setSettings writes the flags that changed reports to the settings file, and removes those
// that unset names.
func setSettings(a *app, changed func(flag string) bool, unset []string) error {
	if a.config.fileErr != nil {
		return a.config.fileErr
	}
	for _, name := range unset {
		if !slices.Contains(settingFlags, name) {
			return a.usage("config.unset-what", "Value", name, "Settings", strings.Join(settingFlags, ", "))
		}
	}
	f := a.config.file
	data, err := a.config.dataFolder(a.flags.data)
	switch {
	case err != nil:
		return err
	case a.flags.server != "" && data != "":
		return a.usage("error.server-and-data", "Server", bus.Redact(a.flags.server), "Folder", data)
	case a.flags.server != "":
		f.Data = ""
	case data != "":
		f.Server = ""
	}
	if err := a.config.checkTransferFlags(); err != nil {
		return err
	}
	for _, s := range []struct {
		flag, value string
		field       *string
		check       func(string) error
	}{
		{"server", a.flags.server, &f.Server, a.checkServers},
		{"data", data, &f.Data, nil},
		{"nickname", a.flags.nickname, &f.Nickname, schemas.CheckNickname},
		{"lang", matchLanguage(a.flags.lang), &f.Lang, nil}, // applyGlobalFlags has checked it
		{"key-file", a.flags.keyFile, &f.KeyFile, nil},
		{"compression", a.flags.compression, &f.Compression, nil},
		{"limit-upload", a.flags.limitUpload, &f.LimitUpload, nil},
		{"limit-download", a.flags.limitDownload, &f.LimitDownload, nil},
	} {
		if slices.Contains(unset, s.flag) {
			*s.field = ""
		}
		if !changed(s.flag) {
			continue
		}
		if s.check != nil {
			if err := s.check(s.value); err != nil {
				return a.usage("config.bad-value", "Flag", "--"+s.flag, "Detail", a.told(err))
			}
		}
		*s.field = s.value
	}
	return saveSettings(a, f)
}

// saveSettings writes the settings file and says so.
func saveSettings(a *app, f fileSettings) error {
	path, err := a.config.saveFile(f)
	if err != nil {
		return err
	}
	if a.json {
		return showSettings(a)
	}
	a.info(a.t("config.saved", "File", path))
	return nil
}

// checkLanguage checks the name of a language.
func (x *texts) checkLanguage(lang string) error {
	if matchLanguage(lang) == "" {
		return x.fail("usage", nil, "error.lang", "Value", lang, "Languages", strings.Join(languages, ", "))
	}
	return nil
}

// checkServers checks one or more NATS addresses, separated by commas.
func (x *texts) checkServers(servers string) error {
	_, err := serverHosts(x, servers)
	return err
}

// showSettings prints the values in force and their sources.
func showSettings(a *app) error {
	s, err := a.config.settings()
	if err != nil {
		return err
	}
	s.Server.Value = bus.Redact(s.Server.Value)
	if a.json {
		return a.printJSON(s)
	}
	t := newTable(a.t("config.setting"), a.t("config.value"), a.t("config.source"))
	for _, row := range []struct {
		name string
		setting
	}{{"server", s.Server}, {"data", s.Data}, {"nickname", s.Nickname}, {"lang", s.Lang}, {"key_file", s.KeyFile},
		{"compression", s.Compression}, {"limit_upload", s.LimitUpload}, {"limit_download", s.LimitDownload}} {
		t.add(row.name, dash(row.Value), sourceText(a.texts, row.Source))
	}
	t.print(a.row)
	a.println("")
	a.println(a.t("config.file", "File", s.File))
	return nil
}

// sourceText is the source of a setting in the user's language.
func sourceText(x *texts, source string) string {
	switch source {
	case "flag":
		return x.t("config.source-flag")
	case "environment":
		return x.t("config.source-environment")
	case "file":
		return x.t("config.source-file")
	case "discovery":
		return x.t("config.source-discovery")
	}
	return x.t("config.source-default")
}
