package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

// version is set when a release is linked: -ldflags "-X main.version=v1.2.3".
var version string

// programVersion is the release; else what the Go toolchain recorded of the build: the
// module's version, else the commit.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return commitVersion(info.Settings)
}

func commitVersion(build []debug.BuildSetting) string {
	commit, dirty := "", ""
	for _, s := range build {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if commit == "" {
		return "devel"
	}
	return "devel-" + commit + dirty
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: a.t("version.short"),
		Args:  a.takes(0, 0),
		RunE:  func(*cobra.Command, []string) error { return printVersion(a) },
	}
}

func printVersion(a *app) error {
	if a.json {
		return a.printJSON(map[string]any{
			"version": programVersion(), "go": runtime.Version(), "protocol": schemas.ProtocolVersion,
			"os": runtime.GOOS, "arch": runtime.GOARCH,
		})
	}
	a.println(a.t("version.line", "Version", programVersion(), "Go", runtime.Version(),
		"Protocol", schemas.ProtocolVersion, "OS", runtime.GOOS, "Arch", runtime.GOARCH))
	return nil
}
