package main

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// gvisorModule is the module whose version says most about how the stack behaves.
const gvisorModule = "gvisor.dev/gvisor"

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print which version this is, and that of gVisor in it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return failure{errors.New("this program was built without build information")}
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), version(info)); err != nil {
				return failure{err}
			}
			return nil
		},
	}
}

// version returns two lines: of this program and of gVisor.
func version(info *debug.BuildInfo) string {
	var vcs []string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			vcs = append(vcs, s.Value)
		case s.Key == "vcs.time":
			vcs = append(vcs, s.Value)
		case s.Key == "vcs.modified" && s.Value == "true":
			vcs = append(vcs, "modified")
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pvdstack %s", info.Main.Version)
	if len(vcs) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(vcs, ", "))
	}
	fmt.Fprintf(&b, " %s\n", info.GoVersion)
	for _, m := range info.Deps {
		if m.Path != gvisorModule {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		fmt.Fprintf(&b, "%s %s\n", m.Path, m.Version)
	}
	return b.String()
}
