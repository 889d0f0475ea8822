package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"servidor-backup/client"
)

// leaveOutFlags are the flags of transmit about what is left out, as far as they need more
// than to be stored.
type leaveOutFlags struct {
	files  []string // of patterns
	larger string
}

// add adds the flags, which write to opt.
func (l *leaveOutFlags) add(a *app, f *pflag.FlagSet, opt *client.BackupOptions) {
	f.StringArrayVar(&opt.Exclude, "exclude", nil, a.t("transmit.flag-exclude"))
	f.StringArrayVar(&l.files, "exclude-file", nil, a.t("transmit.flag-exclude-file"))
	f.StringArrayVar(&opt.IgnoreFiles, "ignore-file", nil, a.t("transmit.flag-ignore-file"))
	f.BoolVar(&opt.ExcludeCaches, "exclude-caches", false, a.t("transmit.flag-exclude-caches"))
	f.BoolVar(&opt.OneFileSystem, "one-file-system", false, a.t("transmit.flag-one-file-system"))
	f.StringVar(&l.larger, "exclude-larger-than", "", a.t("transmit.flag-exclude-larger-than"))
	f.BoolVar(&opt.NoDump, "no-dump-flag", false, a.t("transmit.flag-no-dump-flag"))
}

// apply checks the flags and reads the files of patterns.
func (l *leaveOutFlags) apply(a *app, opt *client.BackupOptions) error {
	stdin := slices.Contains(opt.Paths, "-")
	if stdin && (len(opt.Exclude) > 0 || len(l.files) > 0 || len(opt.IgnoreFiles) > 0 || opt.ExcludeCaches ||
		opt.OneFileSystem || l.larger != "" || opt.NoDump) {
		return a.usage("transmit.stdin-exclude")
	}
	for _, name := range opt.IgnoreFiles {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return a.usage("transmit.bad-ignore-file", "Name", name)
		}
	}
	if l.larger != "" {
		size, ok := parseSize(l.larger)
		if !ok || size == 0 {
			return a.usage("transmit.bad-size", "Value", l.larger)
		}
		opt.ExcludeLargerThan = size
	}
	for _, name := range l.files {
		file := client.PatternFile{Name: name}
		var err error
		if name == "-" {
			file.Text, err = io.ReadAll(a.in)
		} else {
			file.Text, err = os.ReadFile(name)
		}
		if err != nil {
			return a.fail("exclude-file", err, "transmit.no-exclude-file", "File", name)
		}
		opt.ExcludeFiles = append(opt.ExcludeFiles, file)
	}
	return nil
}

// leftOutNames are the names of the reasons in JSON.
var leftOutNames = [client.LeftReasons]string{
	client.LeftByPattern:       "patterns",
	client.LeftByIgnoreFile:    "ignore_files",
	client.LeftCacheFolder:     "caches",
	client.LeftStoreFolder:     "stores",
	client.LeftOtherFileSystem: "file_systems",
	client.LeftTooLarge:        "large",
	client.LeftNoDump:          "no_dump",
}

// leftOut is the JSON of what was left out: an object with a member for each reason that
// there was.
type leftOut client.LeftOut

func (l leftOut) MarshalJSON() ([]byte, error) {
	type count struct {
		Paths int64 `json:"paths"`
		Bytes int64 `json:"bytes"`
	}
	all := map[string]count{}
	for i, n := range l {
		if n.Paths > 0 {
			all[leftOutNames[i]] = count(n)
		}
	}
	var b bytes.Buffer
	err := json.NewEncoder(&b).Encode(all)
	return b.Bytes(), err
}

// printLeftOut prints what was left out, if anything was.
func printLeftOut(c *console, l *client.LeftOut) {
	var parts []string
	add := func(why client.LeftReason, text string) {
		if l[why].Paths > 0 {
			parts = append(parts, text)
		}
	}
	add(client.LeftByPattern, c.n("transmit.left-patterns", l[client.LeftByPattern].Paths))
	add(client.LeftByIgnoreFile, c.n("transmit.left-ignore-files", l[client.LeftByIgnoreFile].Paths))
	add(client.LeftStoreFolder, c.n("transmit.left-stores", l[client.LeftStoreFolder].Paths))
	add(client.LeftCacheFolder, c.n("transmit.left-caches", l[client.LeftCacheFolder].Paths))
	add(client.LeftOtherFileSystem, c.n("transmit.left-file-systems", l[client.LeftOtherFileSystem].Paths))
	add(client.LeftTooLarge, c.n("transmit.left-large", l[client.LeftTooLarge].Paths))
	add(client.LeftNoDump, c.n("transmit.left-no-dump", l[client.LeftNoDump].Paths))
	if parts != nil {
		c.println(c.t("transmit.left-out", "List", strings.Join(parts, ", ")))
	}
}

// patternError says why a pattern can never match.
func (x *texts) patternError(e *client.PatternError) string {
	var why string
	switch e.Why {
	case client.PatternSyntax:
		why = x.t("pattern.syntax")
	case client.PatternOutside:
		why = x.t("pattern.outside")
	case client.PatternSource:
		why = x.t("pattern.source")
	case client.PatternFiles:
		why = x.t("pattern.file")
	}
	if e.File != "" {
		return x.t("pattern.in-file", "Pattern", e.Text, "File", e.File, "Line", e.Line, "Why", why)
	}
	return x.t("pattern.typed", "Pattern", e.Text, "Why", why)
}
