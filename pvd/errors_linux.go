package pvd

import "syscall"

func isENONET(err error) bool { return err == syscall.ENONET } //nolint:errorlint // the target of errors.Is comes as it is
