package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

func newList(a *app) *cobra.Command {
	var tree, nicknames bool
	var opt client.ListOptions
	cmd := &cobra.Command{
		Use:     "list " + a.t("list.args"),
		Aliases: []string{"listar", "ls"},
		Short:   a.t("list.short"),
		Long:    a.t("list.long"),
		Args:    a.takes(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			switch {
			case nicknames && (tree || opt.Forgotten || len(args) > 0):
				return a.usage("list.nicknames-alone")
			case nicknames:
				return listNicknames(ctx, a)
			case tree && len(args) == 0:
				return a.usage("list.tree-of-what")
			case tree && opt.Forgotten:
				return a.usage("list.forgotten-or-tree")
			case tree:
				return listTree(ctx, a, args[0], argument(args, 1))
			case len(args) == 2:
				return a.usage("list.path-needs-tree")
			case len(args) == 1:
				return listVersions(ctx, a, args[0], opt)
			}
			return listRecords(ctx, a, opt)
		},
	}
	cmd.Flags().BoolVar(&tree, "tree", false, a.t("list.flag-tree"))
	cmd.Flags().BoolVar(&nicknames, "nicknames", false, a.t("list.flag-nicknames"))
	cmd.Flags().BoolVar(&opt.Forgotten, "forgotten", false, a.t("list.flag-forgotten"))
	return cmd
}

// jsonRecord is the JSON of a record.
type jsonRecord struct {
	Name     string `json:"name"`
	Versions uint64 `json:"versions"`
	Latest   uint64 `json:"latest"`
	Created  string `json:"created"`
	Files    int64  `json:"files"`
	Bytes    int64  `json:"bytes"`
	Sealed   bool   `json:"sealed"`
}

// listRecords prints the records of the nickname.
func listRecords(ctx context.Context, a *app, opt client.ListOptions) error {
	s, err := a.openToRead(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	records, err := s.Records(ctx, opt)
	if err != nil {
		return err
	}
	if a.json {
		for _, r := range records {
			err := a.printJSON(jsonRecord{r.Name, r.Versions, r.Latest, stamp(r.Created), r.Files, r.Bytes, r.Sealed})
			if err != nil {
				return err
			}
		}
		return nil
	}
	if len(records) == 0 {
		return explainNothing(ctx, a, s)
	}
	t := newTable(a.t("list.name"), ">"+a.t("list.versions"), a.t("list.latest"), ">"+a.t("list.files"), ">"+a.t("list.size"))
	for _, r := range records {
		t.add(a.show(r.Name), a.number(int64(r.Versions)), a.when(r.Created), a.number(r.Files), a.size(r.Bytes))
	}
	t.print(a.row)
	return nil
}

// explainNothing says why a list of records is empty: all are forgotten, or the backups are
// under another nickname.
func explainNothing(ctx context.Context, a *app, s *session) error {
	mine := s.settings.Nickname.Value
	forgotten, err := s.Records(ctx, client.ListOptions{Forgotten: true})
	if err != nil {
		return err
	}
	if n := int64(len(forgotten)); n > 0 {
		a.info(a.n("list.all-forgotten", n, "Nickname", mine))
		return nil
	}
	a.info(a.t("list.nothing", "Nickname", mine))
	others, err := s.Nicknames(ctx)
	if err != nil {
		return nil // an older coordinator does not know; the list itself is complete
	}
	others = slices.DeleteFunc(others, func(n string) bool { return n == mine })
	if len(others) > 0 {
		shown := others[:min(len(others), maxNicknames)]
		if len(shown) < len(others) {
			shown = append(slices.Clip(shown), "…")
		}
		a.info(a.t("list.others", "Nicknames", a.show(strings.Join(shown, ", ")), "First", a.show(others[0])))
	}
	return nil
}

// maxNicknames is how many nicknames an empty list names.
const maxNicknames = 10

// listNicknames prints the nicknames under which something was saved.
func listNicknames(ctx context.Context, a *app) error {
	s, err := a.openToRead(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	all, err := s.Nicknames(ctx)
	if err != nil {
		return err
	}
	for _, n := range all {
		if !a.json {
			a.println(a.show(n))
		} else if err := a.printJSON(map[string]string{"nickname": n}); err != nil {
			return err
		}
	}
	return nil
}

// jsonVersion is the JSON of a version.
type jsonVersion struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Version    uint64   `json:"version"`
	Created    string   `json:"created"`
	Files      int64    `json:"files"`
	Bytes      int64    `json:"bytes"`
	Stored     int64    `json:"stored"`
	Durability string   `json:"durability"`
	Partial    bool     `json:"partial"`
	Forgotten  string   `json:"forgotten,omitempty"` // time at which it was forgotten
	Host       string   `json:"host,omitempty"`
	Paths      []string `json:"paths,omitempty"`
	Unreadable bool     `json:"unreadable,omitempty"` // the label cannot be opened
}

// listVersions prints the versions of a record, or only the version that id names.
func listVersions(ctx context.Context, a *app, id string, opt client.ListOptions) error {
	if err := checkID(a.console, id); err != nil {
		return err
	}
	s, err := a.openToRead(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if id, err = s.resolve(ctx, id); err != nil {
		return err
	}
	name, number, err := schemas.ParseVersionID(id)
	if err != nil {
		return err
	}
	versions, err := s.Versions(ctx, name, opt)
	if err != nil {
		return err
	}
	if number > 0 {
		versions = onlyVersion(versions, number)
		if len(versions) == 0 {
			return schemas.Explain(schemas.UnknownVersion, "no-such-version", "\"{record}\" has no version {number}", "record", name, "number", number)
		}
	}
	unreadable := int64(0)
	for i := range versions {
		if err := versions[i].Unreadable; err != nil {
			unreadable++
			a.warn(versions[i].ID, err)
		}
	}
	if err := printVersions(a, versions); err != nil || unreadable == 0 {
		return err
	}
	return a.partial("list.unreadable-count", unreadable)
}

func printVersions(a *app, versions []client.VersionInfo) error {
	if a.json {
		return printVersionsJSON(a.console, versions)
	}
	t := newTable(a.t("list.version"), a.t("list.when"), ">"+a.t("list.files"), ">"+a.t("list.size"), ">"+a.t("list.new"), a.t("list.from"))
	for i := range versions {
		v := &versions[i]
		t.add(a.show(v.ID), a.when(v.Created), a.number(v.Files), a.size(v.Bytes), a.size(v.Stored), origin(a.console, v))
	}
	t.print(a.row)
	return nil
}

func onlyVersion(versions []client.VersionInfo, number uint64) []client.VersionInfo {
	for i := range versions {
		if versions[i].Number == number {
			return versions[i : i+1]
		}
	}
	return nil
}

// origin is the host and the paths that a version was made from, and whether the version is
// incomplete or forgotten.
func origin(c *console, v *client.VersionInfo) string {
	var parts []string
	for _, p := range v.Paths {
		parts = append(parts, c.show(p))
	}
	from := strings.Join(parts, " ")
	if v.Host != "" {
		from = c.show(v.Host) + ":" + from
	}
	if v.Unreadable != nil {
		from = c.t("list.unreadable")
	}
	if v.Partial {
		from = strings.TrimSpace(from + " " + c.t("list.partial"))
	}
	if v.Forgotten > 0 {
		from = strings.TrimSpace(from + " " + c.t("list.forgotten", "When", c.when(v.Forgotten)))
	}
	return from
}

func printVersionsJSON(c *console, versions []client.VersionInfo) error {
	for i := range versions {
		v := &versions[i]
		out := jsonVersion{
			ID: v.ID, Name: v.Record, Version: v.Number, Created: stamp(v.Created), Files: v.Files,
			Bytes: v.Bytes, Stored: v.Stored, Durability: v.Durability.String(), Partial: v.Partial,
			Host: v.Host, Paths: v.Paths, Unreadable: v.Unreadable != nil,
		}
		if v.Forgotten > 0 {
			out.Forgotten = stamp(v.Forgotten)
		}
		if err := c.printJSON(out); err != nil {
			return err
		}
	}
	return nil
}
