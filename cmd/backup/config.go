package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Aliases: []string{"configurar", "configuracoes", "configurações"},
		Short:   a.t("config.short"),
		Long:    a.t("config.long"),
		Args:    a.takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			changed := cmd.Flags().Changed
			if slices.ContainsFunc(settable, changed) {
				return a.setSettings(changed)
			}
			if !a.inTerm {
				return a.usage("config.nothing")
			}
			p := newPrompter(a)
			defer p.close()
			err := a.askSettings(cmd.Context(), p)
			if errors.Is(err, io.EOF) {
				return a.fail("no-answer", nil, "config.no-answer")
			}
			return err
		},
	}
	a.addUploadFlags(cmd.Flags())
	a.addDownloadFlags(cmd.Flags())
	cmd.AddCommand(&cobra.Command{
		Use:   "show",
		Short: a.t("config.show-short"),
		Args:  a.takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.showSettings() },
	})
	return cmd
}

// settable are the flags that are settings.
var settable = []string{"server", "data", "nickname", "lang", "key-file", "compression", "limit-upload", "limit-download"}

// setSettings writes what the flags say into the settings file; an empty value
// takes a setting out.
func (a *app) setSettings(changed func(flag string) bool) error {
	if a.fileErr != nil {
		return a.fileErr
	}
	f := a.file
	data, err := absolute(a.flags.data)
	switch {
	case err != nil:
		return err
	case a.flags.server != "" && data != "":
		return a.usage("error.server-and-data", "Server", a.flags.server, "Folder", data)
	case a.flags.server != "":
		f.Data = ""
	case data != "":
		f.Server = ""
	}
	if err := a.checkTransferFlags(); err != nil {
		return err
	}
	for _, s := range []struct {
		flag, value string
		field       *string
		check       func(string) error
	}{
		{"server", a.flags.server, &f.Server, a.checkServerURL},
		{"data", data, &f.Data, nil},
		{"nickname", a.flags.nickname, &f.Nickname, schemas.CheckNickname},
		{"lang", matchLanguage(a.flags.lang), &f.Lang, nil}, // checkFlags did
		{"key-file", a.flags.keyFile, &f.KeyFile, nil},
		{"compression", a.flags.compression, &f.Compression, nil},
		{"limit-upload", a.flags.limitUpload, &f.LimitUpload, nil},
		{"limit-download", a.flags.limitDownload, &f.LimitDownload, nil},
	} {
		if !changed(s.flag) {
			continue
		}
		if s.value != "" && s.check != nil {
			if err := s.check(s.value); err != nil {
				return a.usage("config.bad-value", "Flag", "--"+s.flag, "Detail", err.Error())
			}
		}
		*s.field = s.value
	}
	return a.keepSettings(f)
}

// absolute is where a folder is, whatever the working folder will be; "" stays.
func absolute(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	return filepath.Abs(dir)
}

// keepSettings writes the settings file and says so.
func (a *app) keepSettings(f fileSettings) error {
	path, err := a.saveFile(f)
	if err != nil {
		return err
	}
	if a.flags.json {
		return a.showSettings()
	}
	a.console.info(a.t("config.saved", "File", path))
	return nil
}

// askSettings asks for server, nickname and language, and keeps the answers.
func (a *app) askSettings(ctx context.Context, p *prompter) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	f := a.file
	if s.Data.Value == "" {
		preset := cmp.Or(s.Server.Value, defaultServer)
		if f.Server, err = a.askValid(ctx, p, a.t("config.ask-server"), preset, a.checkServerURL); err != nil {
			return err
		}
		f.Data = "" // only one of the two can be used
	}
	if f.Nickname, err = a.askValid(ctx, p, a.t("config.ask-nickname"), s.Nickname.Value, schemas.CheckNickname); err != nil {
		return err
	}
	lang := a.t("config.ask-lang", "Languages", strings.Join(languages, ", "))
	if f.Lang, err = a.askValid(ctx, p, lang, a.lang, a.checkLang); err != nil {
		return err
	}
	f.Lang = matchLanguage(f.Lang)
	if err := a.keepSettings(f); err != nil {
		return err
	}
	*a.texts = *newTexts(a.language(a.flags.lang)) // from now on, in it
	return nil
}

// askValid asks until check is content.
func (a *app) askValid(ctx context.Context, p *prompter, question, preset string, check func(string) error) (string, error) {
	for {
		value, err := p.askOr(ctx, question, preset)
		if err != nil {
			return "", err
		}
		if err := check(value); err == nil {
			return value, nil
		} else {
			a.console.fail(err)
		}
	}
}

func (a *app) checkLang(lang string) error {
	if matchLanguage(lang) == "" {
		return a.fail("usage", nil, "error.lang", "Value", lang, "Languages", strings.Join(languages, ", "))
	}
	return nil
}

// checkServerURL checks one or more NATS addresses, separated by commas.
func (a *app) checkServerURL(servers string) error {
	_, err := a.serverHosts(servers)
	return err
}

// serverList are the addresses in a list of them.
func serverList(servers string) []string {
	list := strings.Split(servers, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// serverHosts are the hosts of NATS addresses: URLs, or HOST:PORT as the NATS
// client takes them too.
func (a *app) serverHosts(servers string) ([]string, error) {
	var hosts []string
	for _, server := range serverList(servers) {
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" || !natsScheme(u.Scheme) {
			return nil, a.fail("usage", nil, "error.server-url", "Server", server)
		}
		hosts = append(hosts, u.Hostname())
	}
	return hosts, nil
}

func natsScheme(s string) bool { return s == "nats" || s == "tls" || s == "ws" || s == "wss" }

// showSettings prints the values in force and where they come from.
func (a *app) showSettings() error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	if a.flags.json {
		return a.printJSON(s)
	}
	t := newTable(a.t("config.setting"), a.t("config.value"), a.t("config.source"))
	for _, row := range []struct {
		name string
		setting
	}{{"server", s.Server}, {"data", s.Data}, {"nickname", s.Nickname}, {"lang", s.Lang}, {"key_file", s.KeyFile},
		{"compression", s.Compression}, {"limit_upload", s.LimitUpload}, {"limit_download", s.LimitDownload}} {
		t.add(row.name, dash(row.Value), a.source(row.Source))
	}
	t.print(a.println)
	a.println("")
	a.println(a.t("config.file", "File", s.File))
	return nil
}

// source is where a setting comes from, in the person's language.
func (a *app) source(s string) string {
	switch s {
	case "flag":
		return a.t("config.source-flag")
	case "environment":
		return a.t("config.source-environment")
	case "file":
		return a.t("config.source-file")
	case "discovery":
		return a.t("config.source-discovery")
	}
	return a.t("config.source-default")
}
