package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"servidor-backup/schemas"
)

// typed is a terminal at which the user types these lines.
func typed(t *testing.T, lines ...string) *cli {
	c := filled(t)
	c.inTerm = true
	c.in = strings.Join(lines, "\n") + "\n"
	return c
}

func TestMenu(t *testing.T) {
	c := typed(t, "2", "photos", "1", "/tmp/x", "", "3", "photos@3", "a", "", "7", "5")
	c.expect(t, exitDone, "--lang", "pt")
	contains(t, c.out.String(), "  1. Transmitir\n  2. Listar\n  3. Baixar\n  4. Configurações\n  5. Sair\n",
		"NOME ", "VERSÃO", "photos@3 salvo", "photos@3 restaurado")
	contains(t, c.err.String(), "Escolha um número de 1 a 5.")
	if opt := c.backend.backups[0]; opt.Paths[0] != "/tmp/x" || opt.Name != "" {
		t.Errorf("transmitted %+v", opt)
	}
	if opt := c.backend.restores[0]; opt.ID != "photos@3" || opt.Inside[0] != "a" || opt.To != "." {
		t.Errorf("downloaded %+v", opt)
	}
}

func TestMenuGoesOnAfterAnError(t *testing.T) {
	c := typed(t, "2", "1", "-", "", "5")
	c.backend.fails = schemas.Errorf(schemas.NoNode, "no storage node is up")
	c.expect(t, exitDone, "menu")
	if n := strings.Count(c.err.String(), "backup: no storage node is up"); n != 2 {
		t.Errorf("%d errors in:\n%s", n, c.err.String())
	}
	if c.backend.backups[0].Paths[0] != "./-" {
		t.Errorf("the menu takes \"-\" for stdin: %q", c.backend.backups[0].Paths)
	}
}

// If no server is known, the menu asks for the settings first, and then uses the chosen
// language.
func TestMenuAsksForSettingsFirst(t *testing.T) {
	c := typed(t, "xx", "pt", "3", "2", "not a server", "nats://box:1", "a/b", "ana", "5")
	delete(c.vars, "BACKUP_SERVER")
	c.expect(t, exitDone)
	out := c.out.String()
	contains(t, out, "First the settings", "Language (en, pt) [en]:", "1. uma pasta", "2. um servidor",
		"Servidor [nats://127.0.0.1:4222]:", "Apelido [ana]:", "1. Transmitir")
	contains(t, c.err.String(), `language "xx"`, "escolha 1 ou 2", "não é o endereço", "não é permitido")
	if s := c.shown(t); s.Server.Value != "nats://box:1" || s.Lang.Value != "pt" {
		t.Errorf("saved %+v", s)
	}
}

func TestMenuEndsWithTheInput(t *testing.T) {
	c := typed(t, "1")
	c.expect(t, exitDone, "menu")
	if !strings.HasSuffix(c.out.String(), "\n") {
		t.Errorf("no line break after the question: %q", c.out.String())
	}
}

// A signal ends the menu while it waits for a line.
func TestMenuEndsWithASignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := filled(t)
		c.inTerm = true
		silent, hangUp := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		code := make(chan int)
		go func() {
			code <- run(ctx, nil, streams{silent, &c.out, &c.err}, c.environment())
		}()
		synctest.Wait()
		cancel()
		if got := <-code; got != exitInterrupted {
			t.Errorf("exit code %d", got)
		}
		contains(t, c.err.String(), "backup: interrupted")
		hangUp.Close() // ends the pending read
	})
}

func TestConfigWithoutAnswers(t *testing.T) {
	c := typed(t)
	c.in = ""
	c.expect(t, exitFailed, "config")
	contains(t, c.err.String(), "settings were not changed")
}

// Backups can go to a folder. One that holds none yet is begun only on request, and a path that
// cannot be a folder is asked for again.
func TestMenuTakesAFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(dir, "disk")
	c := typed(t, "", "1", file, filepath.Join(dir, "no", "where"), place, "n", place, "y", "", "5")
	delete(c.vars, "BACKUP_SERVER")
	c.expect(t, exitDone)
	contains(t, c.out.String(), "Folder:", place+" holds no backups yet. Begin there? [y/N]")
	contains(t, c.err.String(), file+" is not a folder", "no such file")
	if s := c.shown(t); s.Data.Value != place || s.Server.Value != "" {
		t.Errorf("saved %+v", s)
	}
}

// A server that does not answer is kept only on request.
func TestMenuTriesTheServer(t *testing.T) {
	c := typed(t, "", "2", "nats://box:1", "", "nats://box:2", "y", "", "5")
	delete(c.vars, "BACKUP_SERVER")
	c.connectFails = errors.New("nobody answers")
	c.expect(t, exitDone)
	if n := strings.Count(c.err.String(), "backup: nobody answers"); n != 2 {
		t.Errorf("%d errors in:\n%s", n, c.err.String())
	}
	if s := c.shown(t); s.Server.Value != "nats://box:2" {
		t.Errorf("saved %+v", s)
	}
}
