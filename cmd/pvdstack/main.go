// Command pvdstack runs a TCP/IP stack in user space whose unit is the provisioning domain
// (PvD, RFC 7556), with a SOCKS5 proxy into each.
//
// It exits 0 when all went well, 1 when something failed while it ran, and 2 when it was
// called wrongly or its configuration is at fault, with nothing touched.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // something failed while running
	exitUsage   = 2 // wrong arguments or configuration; nothing was touched
)

func main() {
	root := newRoot()
	root.SetArgs(os.Args[1:])
	os.Exit(execute(root))
}

// newRoot returns the command with all its subcommands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "pvdstack",
		Short: "One process, many networks: a TCP/IP stack for each provisioning domain",
		// What is wrong is said in one place, and not followed by a page of help.
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newDemo(), newRun(), newCheck(), newProbe(), newResolve(), newVersion())
	root.InitDefaultHelpCmd()
	help, _, _ := root.Find([]string{"help"})
	help.Args = func(_ *cobra.Command, args []string) error {
		if c, rest, err := root.Find(args); err != nil || len(rest) > 0 || !c.HasParent() && len(args) > 0 {
			return fmt.Errorf("there is no command %q", strings.Join(args, " "))
		}
		return nil
	}
	return root
}

// A failure is an error of what a command does, other than of how it was called.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// execute runs a command and returns its exit code.
func execute(root *cobra.Command) int {
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	w := cmd.ErrOrStderr()
	if faults, ok := errors.AsType[config.Faults](err); ok {
		// As they are, for whatever jumps to file:line:column.
		fmt.Fprintln(w, faults)
		return exitUsage
	}
	if _, ok := errors.AsType[failure](err); ok {
		fmt.Fprintln(w, "pvdstack:", err)
		return exitFailure
	}
	fmt.Fprintf(w, "pvdstack: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
	return exitUsage
}

// configFlag adds the flag that names the configuration.
func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", `the configuration's file; "-" is standard input`)
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err) // the flag is there: see the line above
	}
}
