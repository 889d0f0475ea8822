//go:build !linux

package treetest

import (
	"os"
	"time"
)

// setLinkTime does nothing: the time of a link cannot be set on this system.
func setLinkTime(*os.Root, string, string, time.Time) error { return nil }

// special and attributes are made on Linux only.
func (g *generator) special()    {}
func (g *generator) attributes() {}
