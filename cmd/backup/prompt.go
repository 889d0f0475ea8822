package main

import (
	"bufio"
	"context"
	"io"
	"strings"

	"servidor-backup/bus"
)

// prompter asks the user for lines of text. It echoes; it is not for secrets.
type prompter struct {
	c    *console
	want chan struct{}
	got  chan answer
}

type answer struct {
	line string
	err  error
}

// newPrompter asks on stdout and reads answers from in. A read from a terminal cannot be
// cancelled, so a goroutine reads. If a question is cancelled, the goroutine stays in its
// read; it ends after close, or with the process.
func newPrompter(c *console, in io.Reader) *prompter {
	p := &prompter{c: c, want: make(chan struct{}), got: make(chan answer, 1)}
	go p.serve(bufio.NewReader(in))
	return p
}

func (p *prompter) serve(in *bufio.Reader) {
	for range p.want {
		line, err := in.ReadString('\n')
		if line != "" {
			err = nil // a last line without line break counts; EOF comes next
		}
		p.got <- answer{strings.TrimSpace(line), err}
	}
}

func (p *prompter) close() { close(p.want) }

// ask prints a question and returns the answer without surrounding spaces. The error is
// io.EOF if the user ended the input, or the context's.
func (p *prompter) ask(ctx context.Context, question string) (string, error) {
	p.c.printf("%s ", question)
	if err := p.c.out.Flush(); err != nil {
		return "", err
	}
	select {
	case p.want <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	select {
	case got := <-p.got:
		if got.err == io.EOF {
			p.c.println("") // the cursor is still behind the question
		}
		return got.line, got.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// askOr is ask with a preset answer: Enter alone gives it. It shows no password of an address.
func (p *prompter) askOr(ctx context.Context, question, preset string) (string, error) {
	line, err := p.ask(ctx, question+" ["+quotePath(bus.RedactText(preset))+"]:")
	if line == "" {
		line = preset
	}
	return line, err
}

// askSome is askOr that asks again until there is an answer; without a preset, Enter alone is
// none.
func (p *prompter) askSome(ctx context.Context, question, preset string) (string, error) {
	for {
		var line string
		var err error
		if preset == "" {
			line, err = p.ask(ctx, question+":")
		} else {
			line, err = p.askOr(ctx, question, preset)
		}
		if line != "" || err != nil {
			return line, err
		}
	}
}

// askYes asks a question that is answered with yes or no. Enter alone is no.
func (p *prompter) askYes(ctx context.Context, question string) (bool, error) {
	line, err := p.ask(ctx, question+" "+p.c.t("prompt.yes-no"))
	switch strings.ToLower(line) {
	case "y", "yes", "s", "sim":
		return true, err
	}
	return false, err
}
