package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/daemon"
	"github.com/pvdstack/pvdstack/tun"
)

func newRun() *cobra.Command {
	var path, pcap string
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
			log := newLogger(cmd.ErrOrStderr(), c.Log)
			capture, done, err := openCapture(pcap, log)
			if err != nil {
				return failure{err}
			}
			if err := errors.Join(daemon.Run(ctx, c, capture, log), done()); err != nil {
				return failure{err}
			}
			return nil
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&pcap, "pcap", "", "record the frames of every PvD in `FILE` (pcapng)")
	return cmd
}

// openCapture begins a capture in a file, and returns what ends it. Without a path there
// is none.
func openCapture(path string, log *slog.Logger) (*tun.Capture, func() error, error) {
	if path == "" {
		return nil, func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, nil, err
	}
	c := tun.NewCapture(f, tun.CaptureConfig{})
	return c, func() error {
		if n := c.LeftOut(); n > 0 {
			log.Warn("frames are missing in the capture", "op", "capture", "frames", n)
		}
		return errors.Join(c.Close(), f.Close())
	}, nil
}

// newLogger returns the daemon's logger.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.JSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
