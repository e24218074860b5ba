package tun

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A linkWatch tells when some interface of a network namespace has changed, the
// namespace being that of the thread which opened it. What has changed it does not say:
// the interface that matters is looked at again, so that nothing depends on the kernel
// having had room for every notification.
type linkWatch struct {
	file    *os.File
	conn    syscall.RawConn
	drain   func(fd uintptr) bool
	drained bool
}

func openLinkWatch() (*linkWatch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		unix.Close(fd) // err says more
		return nil, fmt.Errorf("watch interfaces: %w", err)
	}
	w := &linkWatch{file: os.NewFile(uintptr(fd), "rtnetlink")}
	if w.conn, err = w.file.SyscallConn(); err != nil {
		w.file.Close() // err says more
		return nil, fmt.Errorf("watch interfaces: %w", err)
	}
	w.drain = func(fd uintptr) bool {
		var b [1]byte
		for {
			switch _, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_TRUNC); {
			case errors.Is(err, unix.EAGAIN):
				return w.drained
			case err == nil, errors.Is(err, unix.ENOBUFS): // notifications were lost: look
				w.drained = true
			case !errors.Is(err, unix.EINTR):
				return true
			}
		}
	}
	return w, nil
}

// wait returns when an interface has changed since the last call, or after d if that is
// positive. It reports false after close.
func (w *linkWatch) wait(d time.Duration) bool {
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	if w.file.SetReadDeadline(deadline) != nil {
		return false
	}
	w.drained = false
	err := w.conn.Read(w.drain)
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

func (w *linkWatch) close() error { return w.file.Close() }
