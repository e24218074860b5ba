package main

import (
	"context"
	"io"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/daemon"
)

func newRun() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Build what a configuration says and keep it until SIGTERM or SIGINT",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(path, cmd.InOrStdin())
			if err != nil {
				return err
			}
			if err := rehearse(cmd.Context(), c); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			// A second signal ends the process the usual way.
			context.AfterFunc(ctx, stop)
			if err := daemon.Run(ctx, c, newLogger(cmd.ErrOrStderr(), c.Log)); err != nil {
				return failure{err}
			}
			return nil
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// newLogger returns the daemon's logger.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.JSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
