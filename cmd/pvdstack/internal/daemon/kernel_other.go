//go:build !linux

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
)

// handedOver leaves it to package tun, which refuses descriptors here.
func handedOver(int) error { return nil }

func (*kernel) prepare(l config.Link) (undo func() error, err error) {
	if len(l.Host.Addresses) > 0 || l.Host.Bridge != "" {
		return nil, fmt.Errorf("the kernel's side of a device can be set on Linux only: %w", errors.ErrUnsupported)
	}
	return func() error { return nil }, nil
}

func (*kernel) keep(ctx context.Context, _ []config.Link, _ *slog.Logger) error {
	<-ctx.Done()
	return nil
}
