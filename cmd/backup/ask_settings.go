package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

// askSettings asks for the language, for the place of the backups and for the nickname, and
// saves the answers.
func askSettings(ctx context.Context, a *app, p *prompter) error {
	s, err := a.config.settings()
	if err != nil {
		return err
	}
	f := a.config.file
	question := a.t("config.ask-lang", "Languages", strings.Join(languages, ", "))
	if f.Lang, err = askValid(ctx, p, question, a.lang, a.checkLanguage); err != nil {
		return err
	}
	f.Lang = matchLanguage(f.Lang)
	*a.texts = *newTexts(cmp.Or(a.flags.lang, f.Lang)) // the chosen language, from now on
	if err := askPlace(ctx, a, p, &s, &f); err != nil {
		return err
	}
	if f.Nickname, err = askValid(ctx, p, a.t("config.ask-nickname"), s.Nickname.Value, schemas.CheckNickname); err != nil {
		return err
	}
	return saveSettings(a, f)
}

// askPlace asks where the backups go, a folder or a server, and checks that they can go there.
func askPlace(ctx context.Context, a *app, p *prompter, s *settings, f *fileSettings) error {
	const folder, server = "1", "2"
	preset := folder
	if s.Server.Value != "" {
		preset = server
	}
	a.println(a.t("config.ask-place"))
	a.println("  " + folder + ". " + a.t("config.place-folder"))
	a.println("  " + server + ". " + a.t("config.place-server"))
	place, err := askValid(ctx, p, ">", preset, func(answer string) error {
		if answer != folder && answer != server {
			return a.fail("usage", nil, "config.place-which")
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Server and folder exclude each other.
	if place == folder {
		f.Server = ""
		f.Data, err = askFolder(ctx, a, p, s.Data.Value)
		return err
	}
	f.Data = ""
	f.Server, err = askServer(ctx, a, p, s.Server.Value)
	return err
}

// askFolder asks for the folder with the backups until it holds some, or the user wants to
// begin there.
func askFolder(ctx context.Context, a *app, p *prompter, preset string) (string, error) {
	for {
		answer, err := p.askSome(ctx, a.t("config.ask-folder"), preset)
		if err != nil {
			return "", err
		}
		dir, err := a.config.dataFolder(answer)
		if err == nil {
			err = checkPlace(a.texts, dir)
		}
		if err != nil {
			a.report(err)
			continue
		}
		if has, err := isStore(nodeDir(dir)); err == nil && has {
			return dir, nil
		}
		begin, err := p.askYes(ctx, a.t("config.begin-there", "Folder", quotePath(dir)))
		if err != nil {
			return "", err
		}
		if begin {
			a.flags.begin = true
			return dir, nil
		}
	}
}

// checkPlace checks that dir is a folder, or can be made in one.
func checkPlace(x *texts, dir string) error {
	info, err := os.Stat(dir)
	if os.IsNotExist(err) {
		info, err = os.Stat(filepath.Dir(dir))
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return x.fail("usage", nil, "config.no-folder", "Folder", dir)
	}
	return nil
}

// answerTime is how long a server may take to answer when it is chosen.
const answerTime = 6 * time.Second

// askServer asks for the address of a server until one answers, or the user keeps it all the
// same.
func askServer(ctx context.Context, a *app, p *prompter, known string) (string, error) {
	preset := cmp.Or(known, defaultServer)
	if !strings.Contains(preset, "://") {
		preset = "nats://" + preset // askOr shows no password of it
	}
	for {
		answer, err := askValid(ctx, p, a.t("config.ask-server"), preset, a.checkServers)
		if err != nil {
			return "", err
		}
		trying, cancel := context.WithTimeout(ctx, answerTime)
		b, err := a.env.connect(trying, client.Options{Server: answer, Nickname: "x"})
		cancel()
		if err == nil {
			b.Close()
			return answer, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		a.report(err)
		keep, err := p.askYes(ctx, a.t("config.keep-server"))
		if err != nil || keep {
			return answer, err
		}
	}
}

// askValid asks until check accepts the answer.
func askValid(ctx context.Context, p *prompter, question, preset string, check func(string) error) (string, error) {
	for {
		value, err := p.askOr(ctx, question, preset)
		if err != nil {
			return "", err
		}
		if err := check(value); err == nil {
			return value, nil
		} else {
			p.c.report(err)
		}
	}
}
