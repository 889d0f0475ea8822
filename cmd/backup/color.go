package main

// color is how something that is wrong stands out on a terminal: an SGR parameter of ECMA-48.
type color string

const (
	plain  color = ""
	red    color = "31" // something is lost, or failed
	yellow color = "33" // something needs attention
)

func (col color) paint(text string) string {
	if col == plain || text == "" {
		return text
	}
	return "\x1b[" + string(col) + "m" + text + "\x1b[0m"
}

// canColor reports whether escape sequences may color a stream: see no-color.org.
func canColor(env environment, terminal bool) bool {
	return terminal && env.getenv("NO_COLOR") == "" && env.getenv("TERM") != "dumb"
}
