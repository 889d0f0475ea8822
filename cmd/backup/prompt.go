package main

import (
	"bufio"
	"context"
	"io"
	"strings"
)

// prompter asks a person for lines of text.
type prompter struct {
	a    *app
	want chan struct{}
	got  chan answer
}

type answer struct {
	line string
	err  error
}

// newPrompter reads from stdin. A read from a terminal cannot be broken off,
// so it is done by a goroutine, and a cancelled question leaves it behind in
// that read; it ends with close, or else with the process.
func newPrompter(a *app) *prompter {
	p := &prompter{a: a, want: make(chan struct{}), got: make(chan answer, 1)}
	go p.serve(bufio.NewReader(a.in))
	return p
}

func (p *prompter) serve(in *bufio.Reader) {
	for range p.want {
		line, err := in.ReadString('\n')
		if line != "" {
			err = nil // a last line without its end counts; the end comes next
		}
		p.got <- answer{strings.TrimSpace(line), err}
	}
}

func (p *prompter) close() { close(p.want) }

// ask prints a question and is the answer, without spaces around it. The error
// is io.EOF when the person ended the input, or the context's.
func (p *prompter) ask(ctx context.Context, question string) (string, error) {
	p.a.printf("%s ", question)
	if err := p.a.out.Flush(); err != nil {
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
			p.a.println("") // the cursor stands behind the question
		}
		return got.line, got.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// askOr is ask with an answer that Enter alone gives.
func (p *prompter) askOr(ctx context.Context, question, preset string) (string, error) {
	line, err := p.ask(ctx, question+" ["+quotePath(preset)+"]:")
	if line == "" {
		line = preset
	}
	return line, err
}
