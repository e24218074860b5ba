package pvd

import "syscall"

func isENONET(err error) bool { return err == syscall.ENONET }
