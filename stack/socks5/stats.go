package socks5

// Stats says what a server does and has done. The counts never go back.
type Stats struct {
	Conns      int // connected clients, now
	Handshakes int // of these, clients that have not made their request

	Accepted     uint64 // clients served
	AcceptErrors uint64 // clients lost because accepting failed

	// Clients closed because of a limit.
	OverConns      uint64 // Config.MaxConns
	OverClient     uint64 // Config.MaxConnsPerClient
	OverHandshakes uint64 // Config.MaxHandshakes
	Slow           uint64 // Config.HandshakeTimeout
	Idle           uint64 // Config.IdleTimeout

	AuthFailures uint64 // wrong user name or password
	AuthLimited  uint64 // not looked at, after too many failures
	Forbidden    uint64 // requests for a destination that is not allowed
	Refused      uint64 // requests refused, for whatever reason
}

// Stats returns what s does and has done.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	conns, handshakes := s.conns, s.handshakes.Len()
	s.mu.Unlock()
	c := &s.stats
	return Stats{
		Conns:          conns,
		Handshakes:     handshakes,
		Accepted:       c.accepted.Load(),
		AcceptErrors:   c.acceptErrors.n.Load(),
		OverConns:      c.overConns.n.Load(),
		OverClient:     c.overClient.n.Load(),
		OverHandshakes: c.overHandshakes.n.Load(),
		Slow:           c.slow.n.Load(),
		Idle:           c.idle.Load(),
		AuthFailures:   c.authFailures.Load(),
		AuthLimited:    c.authLimited.n.Load(),
		Forbidden:      c.forbidden.Load(),
		Refused:        c.refused.Load(),
	}
}
