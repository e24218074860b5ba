package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	wire "github.com/miekg/dns"
	"github.com/spf13/cobra"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/daemon"
)

// maxWait is how long resolve may wait for a PvD to be learned, as long as a probe listens.
const maxWait = maxProbe

func newResolve() *cobra.Command {
	var (
		path, recordType string
		trace, asJSON    bool
		l                daemon.Lookup
	)
	cmd := &cobra.Command{
		Use:   "resolve -c FILE NAME",
		Short: "Look a name up in a PvD and say how",
		Long: `Resolve builds the PvDs of a configuration as "run" does, without proxies and DNS servers,
looks NAME up, and says in which PvD, which server was asked, from which address and by which
route, what the cache had, how long it took, and the answer. Then all is undone.

With --pvd only that PvD is built; without, all are, and NAME is in the one that "steer",
"rules" for everybody and "default" give it. Without --type it is addresses that are looked
up, by the search list too; with it, records of NAME as it is.

It has hardware addresses and leases of its own, of which it gives back what it has come to
use, and nothing of "state": the network sees one more host for a moment. So it can not stand
in for a "run" that is at work: devices that "run" has made, and the addresses of PvDs that are
not learned, are taken. Ask a DNS server of its configuration ("dns") then.

It exits 0 if there is an answer, 1 if there is none or something fails, and 2 if it is called
wrongly.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.Wait <= 0 || l.Wait > maxWait {
				return fmt.Errorf("--wait is %v: want a time up to %v", l.Wait, maxWait)
			}
			if l.Name = args[0]; l.Name == "" {
				return errors.New("NAME is empty: want one such as www.example.com")
			}
			var err error
			if l.Type, err = parseType(recordType); err != nil {
				return err
			}
			c, err := config.Load(path, cmd.InOrStdin())
			if err != nil {
				return err
			}
			if l.PvD != "" {
				if err := c.FindPvD(l.PvD); err != nil {
					return err
				}
			}
			if err := rehearse(cmd.Context(), c); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			// A second signal ends the process the usual way.
			context.AfterFunc(ctx, stop)
			c.Log.Level = max(c.Log.Level, slog.LevelWarn) // how PvDs are built is nobody's question
			r, err := daemon.Resolve(ctx, c, l, newLogger(cmd.ErrOrStderr(), c.Log))
			if r != nil {
				err = errors.Join(err, printResolution(cmd.OutOrStdout(), r, trace, asJSON))
			}
			if err != nil {
				return failure{err}
			}
			return nil
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&l.PvD, "pvd", "", "look it up in this `PvD`")
	cmd.Flags().StringVar(&recordType, "type", "", "look up records of this `TYPE`, such as MX or TYPE65")
	cmd.Flags().DurationVar(&l.Wait, "wait", 15*time.Second, "how long a PvD may take to be learned")
	cmd.Flags().BoolVar(&trace, "trace", false, "say each step")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with each step")
	return cmd
}

// parseType understands a type of records, 0 for none (RFC 3597 section 5).
func parseType(s string) (uint16, error) {
	if s == "" {
		return 0, nil
	}
	upper := strings.ToUpper(s)
	if t, ok := wire.StringToType[upper]; ok && t != wire.TypeNone {
		return t, nil
	}
	if digits, ok := strings.CutPrefix(upper, "TYPE"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil && n != 0 {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("--type is %q: want a type of records such as A, MX or TYPE65", s)
}

func printResolution(w io.Writer, r *daemon.Resolution, trace, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pvd     %s\n", r.PvD)
	for i, s := range r.Steps {
		// A step counts for the answer unless the same was asked again.
		last := true
		for _, o := range r.Steps[i+1:] {
			last = last && (o.Name != s.Name || o.Type != s.Type)
		}
		if trace || last {
			writeStep(&b, s)
		}
	}
	if len(r.Answers) > 0 {
		fmt.Fprintf(&b, "\n%s\n", strings.Join(r.Answers, "\n"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeStep(b *strings.Builder, s daemon.Step) {
	fmt.Fprintf(b, "\nname    %s\n", strings.TrimSuffix(s.Name+" "+s.Type, " "))
	fmt.Fprintf(b, "cache   %s\n", s.Cache)
	if s.Server != "" {
		fmt.Fprintf(b, "server  %s\n", strings.TrimSuffix(s.Server+" "+s.Net, " "))
	}
	if s.Source.IsValid() {
		fmt.Fprintf(b, "source  %s\n", s.Source)
	}
	switch {
	case s.NextHop.IsValid():
		fmt.Fprintf(b, "route   link %s, next hop %s\n", cmp.Or(s.Link, "none"), s.NextHop)
	case s.Net != "":
		fmt.Fprintf(b, "route   none\n")
	}
	if s.Net != "" {
		fmt.Fprintf(b, "time    %v\n", s.Time.Round(time.Microsecond))
	}
	result := cmp.Or(s.Rcode, s.Error, "known") // nobody was asked
	if s.Rcode != "" && s.Error != "" {
		result += ": " + s.Error
	}
	if s.TTL > 0 {
		result += fmt.Sprintf(", for %v", s.TTL.Round(time.Second))
	}
	fmt.Fprintf(b, "result  %s\n", result)
}
