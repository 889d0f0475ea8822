package main

import (
	"embed"
	"strings"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"github.com/pelletier/go-toml/v2"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// languages of the texts. The first is for users of any other language.
var languages = []string{"en", "pt"}

//go:embed locales/active.*.toml
var localeFiles embed.FS

// texts are all texts of the program in one language, and its number format.
type texts struct {
	lang    string
	words   *i18n.Localizer
	numbers *message.Printer
}

// loadTexts reads the texts of one language only: reading them is a good part of the time
// that a command takes to start.
func loadTexts(lang string) *i18n.Bundle {
	bundle := i18n.NewBundle(language.MustParse(lang))
	bundle.RegisterUnmarshalFunc("toml", toml.Unmarshal)
	if _, err := bundle.LoadMessageFileFS(localeFiles, "locales/active."+lang+".toml"); err != nil {
		panic(err) // the files are embedded, and a test reads them
	}
	return bundle
}

// newTexts returns the texts of lang, one of languages.
func newTexts(lang string) *texts {
	return &texts{
		lang:    lang,
		words:   i18n.NewLocalizer(loadTexts(lang), lang),
		numbers: message.NewPrinter(language.MustParse(lang)),
	}
}

// t is the text of a key. args are pairs of the name of a placeholder and its value.
func (x *texts) t(key string, args ...any) string {
	return x.words.MustLocalize(&i18n.LocalizeConfig{MessageID: key, TemplateData: pairs(args)})
}

// optional is t, or "" for a key that does not exist.
func (x *texts) optional(key string, args ...any) string {
	text, err := x.words.Localize(&i18n.LocalizeConfig{MessageID: key, TemplateData: pairs(args)})
	if err != nil {
		return ""
	}
	return text
}

// n is the text of a key in the plural form for count; {{.Count}} is count.
func (x *texts) n(key string, count int64, args ...any) string {
	c := &i18n.LocalizeConfig{
		MessageID:    key,
		TemplateData: pairs(append(args, "Count", x.number(count))),
		PluralCount:  count,
	}
	text, err := x.words.Localize(c)
	if err != nil {
		// Portuguese has a separate form for whole millions, which differs only where a
		// noun follows with "de". The texts do without it.
		c.PluralCount = nil
		return x.words.MustLocalize(c)
	}
	return text
}

func pairs(args []any) map[string]any {
	data := make(map[string]any, len(args)/2)
	for i := 0; i+1 < len(args); i += 2 {
		data[args[i].(string)] = args[i+1]
	}
	return data
}

// matchLanguage is the one of languages that a locale such as pt_BR.UTF-8 or pt-PT names, or
// "".
func matchLanguage(locale string) string {
	base := strings.ToLower(locale)
	if i := strings.IndexAny(base, "_-.@"); i >= 0 {
		base = base[:i]
	}
	for _, lang := range languages {
		if base == lang {
			return lang
		}
	}
	return ""
}
