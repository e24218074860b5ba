package pvd

// ErrNoPvD reports that a Ref names no PvD: it never did, or the PvD is gone, perhaps
// while a call was under way. Where the system has ENONET, errors.Is finds that too.
var ErrNoPvD error = noPvDError{}

type noPvDError struct{}

func (noPvDError) Error() string        { return "no such provisioning domain" }
func (noPvDError) Is(target error) bool { return isENONET(target) }
