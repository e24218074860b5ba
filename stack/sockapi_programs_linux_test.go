package stack_test

// kernelPrograms are programs for [sockWorld]: calls in states, of which a Linux kernel knows
// the outcome.
var kernelPrograms = map[string]string{
	"arguments of socket": `
		0 socket badfamily
		0 socket badtype
		0 socket badproto
		0 socket badproto6`,
	"readiness": `
		0 socket tcp4
		0 poll
		0 bind 127.0.0.1:0
		0 poll
		0 listen
		0 poll
		1 socket tcp4
		1 connect @0
		1 wait w
		1 poll
		0 wait r
		0 poll
		0 accept 2
		0 poll
		2 poll
		1 send x -
		2 wait r
		2 poll
		2 recv
		2 poll
		1 shutdown w
		1 poll
		2 wait r
		2 poll
		2 shutdown w
		1 wait r
		1 poll
		3 socket udp4
		3 poll
		3 bind 127.0.0.1:0
		3 poll
		4 socket udp4
		4 connect @3
		4 poll
		4 send x -
		3 wait r
		3 poll
		3 recv
		3 poll
		3 close
		4 send x -
		4 wait r
		4 poll
		4 get error
		4 poll
		5 socket udp4
		5 shutdown r
		5 poll
		5 shutdown w
		5 poll
		6 socket tcp4
		6 bind 127.0.0.1:0
		7 socket tcp4
		7 connect @6
		7 wait w
		7 poll
		7 get error
		7 poll
		7 connect @6
		7 poll`,
	"idle stream": `
		0 socket tcp4
		0 local
		0 peer
		0 accept x
		0 send x -
		0 recv
		0 shutdown w
		0 shutdown bad
		0 get error
		0 get listening
		0 connect -
		0 close
		0 close
		0 bind 127.0.0.1:0
		0 listen
		0 send x -
		0 local
		0 peer
		0 get error
		0 set reuse 1
		0 shutdown r
		0 connect 127.0.0.1:1
		0 accept x
		0 recv`,
	"bound stream": `
		0 socket tcp4
		0 bind 127.0.0.1:0
		0 local
		0 bind 127.0.0.1:0
		0 bind 192.0.2.77:0
		0 peer
		0 accept x
		0 send x -
		0 recv
		0 shutdown rw
		1 socket tcp4
		1 bind @0
		1 local
		1 bind 0.0.0.0:0
		1 local`,
	"addresses of bind": `
		0 socket tcp4
		0 bind 192.0.2.77:0
		0 bind [::1]:0
		0 bind 127.0.0.1:0
		1 socket tcp6
		1 bind [2001:db8::77]:0
		1 bind [::ffff:192.0.2.77]:0
		1 bind [::ffff:127.0.0.1]:0
		1 local
		2 socket udp6
		2 bind [::]:0
		2 local
		3 socket udp4
		3 bind 0.0.0.0@2
		4 socket udp6
		4 set v6only 1
		4 get v6only
		4 bind [::ffff:127.0.0.1]:0
		4 bind [::]:0
		4 set v6only 0
		5 socket udp4
		5 bind 0.0.0.0@4
		5 local`,
	"listening stream": `
		0 socket tcp4
		0 bind 127.0.0.1:0
		0 listen
		0 get listening
		0 accept x
		0 listen
		0 send x -
		0 recv
		0 peer
		0 connect @0
		0 bind 127.0.0.1:0
		0 shutdown w
		0 accept x
		0 shutdown r
		0 get listening
		0 accept x
		0 listen
		0 accept x`,
	"listening without an address": `
		0 socket tcp6
		0 listen
		0 get listening
		1 socket tcp4
		1 connect 127.0.0.1@0
		1 wait w
		1 get error
		0 wait r
		0 accept 2`,
	"two listeners": `
		0 socket tcp4
		0 set reuse 1
		0 bind 127.0.0.1:0
		1 socket tcp4
		1 set reuse 1
		1 bind @0
		0 listen
		1 listen
		1 get listening
		0 close
		1 listen`,
	"connection": `
		0 socket tcp4
		0 bind 127.0.0.1:0
		0 listen
		0 local
		1 socket tcp4
		1 connect @0
		1 wait w
		1 get error
		1 connect @0
		1 connect @0
		1 peer
		1 listen
		1 bind 127.0.0.1:0
		1 accept x
		0 wait r
		0 accept 2
		0 accept 3
		2 connect @0
		2 listen
		1 send hello -
		2 wait r
		2 recv
		2 recv
		2 send hi 192.0.2.1:9
		1 wait r
		1 recv
		1 shutdown w
		1 send x -
		2 wait r
		2 recv
		2 recv
		2 send back -
		1 wait r
		1 recv
		1 shutdown bad
		2 close
		1 wait r
		1 recv`,
	"connection ended for reading": `
		0 socket tcp4
		0 bind 127.0.0.1:0
		0 listen
		1 socket tcp4
		1 bind 127.0.0.1:0
		1 local
		1 connect @0
		1 wait w
		1 get error
		0 wait r
		0 accept 2
		2 send early -
		1 wait r
		1 shutdown r
		1 recv
		1 recv
		1 wait r
		1 send on -
		2 wait r
		2 recv`,
	"refused": `
		0 socket tcp4
		0 bind 127.0.0.1:0
		1 socket tcp4
		1 connect @0
		1 wait w
		1 get error
		1 get error
		1 connect @0
		1 connect @0
		1 wait w
		1 connect @0
		1 send x -
		1 recv
		1 peer
		0 listen
		1 connect @0
		1 wait w
		1 connect @0
		1 connect @0`,
	"refused, and told by another call": `
		0 socket tcp4
		0 bind 127.0.0.1:0
		1 socket tcp4
		1 connect @0
		1 wait w
		1 send x -
		1 send x -
		2 socket tcp4
		2 connect @0
		2 wait r
		2 recv
		2 recv`,
	"dual stack": `
		0 socket tcp6
		0 bind [::]:0
		0 listen
		1 socket tcp4
		1 connect 127.0.0.1@0
		1 wait w
		1 get error
		0 wait r
		0 accept 2
		2 local
		3 socket tcp6
		3 connect [::ffff:127.0.0.1]@0
		4 socket tcp6
		4 set v6only 1
		4 connect [::ffff:127.0.0.1]:9
		6 socket tcp6
		6 bind [::ffff:127.0.0.1]:0
		6 connect [::1]:9
		7 socket tcp6
		7 bind [::1]:0
		7 connect [::ffff:127.0.0.1]@0
		8 socket udp6
		8 bind [::ffff:127.0.0.1]:0
		8 connect [::1]:9
		8 send x [::1]:9
		9 socket udp6
		9 bind [::1]:0
		9 connect [::ffff:127.0.0.1]@0
		9 send x [::ffff:127.0.0.1]@0
		5 socket tcp4
		5 connect [::1]:9
		5 connect [::ffff:127.0.0.1]:9`,
	"connection dissolved": `
		0 socket tcp4
		0 bind 127.0.0.1:0
		0 listen
		1 socket tcp4
		1 connect @0
		1 wait w
		1 get error
		0 wait r
		0 accept 2
		1 connect -
		1 peer
		1 send x -
		1 recv
		2 wait r
		2 recv
		1 connect @0
		1 wait w
		1 get error
		0 connect -
		0 get listening
		0 accept x
		0 listen
		0 get listening`,
	"idle datagrams": `
		0 socket udp4
		0 local
		0 peer
		0 send x -
		0 recv
		0 listen
		0 accept x
		0 shutdown w
		0 get error
		0 connect -
		0 close
		0 send x 127.0.0.1:9
		0 recv
		0 close`,
	"datagrams": `
		0 socket udp4
		0 bind 127.0.0.1:0
		0 local
		1 socket udp4
		1 send one @0
		1 local
		1 bind 127.0.0.1:0
		0 wait r
		0 recv
		0 recv
		0 connect 127.0.0.1@1
		0 peer
		0 local
		0 send back -
		1 wait r
		1 recv
		2 socket udp4
		2 send stranger @0
		0 recv
		1 send friend @0
		0 wait r
		0 recv
		0 send elsewhere @2
		2 wait r
		2 recv
		0 bind 127.0.0.1:0
		0 connect -
		0 peer
		0 send x -
		2 send stranger @0
		0 wait r
		0 recv`,
	"refused datagrams": `
		0 socket udp4
		0 bind 127.0.0.1:0
		1 socket udp4
		1 connect @0
		0 close
		1 send x -
		1 wait r
		1 get error
		1 get error
		1 send x -
		1 wait r
		1 recv
		1 recv
		1 send x -
		1 wait r
		1 send x -
		1 send x -`,
	"destinations of datagrams": `
		0 socket udp4
		0 bind 127.0.0.1:0
		1 socket udp4
		1 send x 127.0.0.1:0
		1 send x [::1]:9
		1 send x [::ffff:127.0.0.1]:9
		1 sendmany @0
		1 send any 0.0.0.0@0
		0 wait r
		0 recv
		1 send x 255.255.255.255:9
		2 socket udp6
		2 send mapped ::ffff:127.0.0.1@0
		0 wait r
		0 recv
		2 send plain @0
		0 wait r
		0 recv
		2 local
		3 socket udp6
		3 set v6only 1
		3 send x @0
		3 send x ::ffff:127.0.0.1@0
		3 connect ::ffff:127.0.0.1@0
		4 socket udp4
		4 connect [::1]:9
		5 socket udp6
		5 connect ::ffff:127.0.0.1@0
		5 local
		5 peer
		5 send other [::1]:9`,
	"datagrams shut down": `
		0 socket udp4
		0 bind 127.0.0.1:0
		0 shutdown r
		0 recv
		1 socket udp4
		1 connect @0
		1 shutdown w
		1 send x -
		1 shutdown r
		1 recv
		2 socket udp4
		2 shutdown rw
		2 recv
		2 send x @0
		2 shutdown bad`,
	"two datagram sockets": `
		0 socket udp4
		0 bind 127.0.0.1:0
		1 socket udp4
		1 bind @0
		1 bind 0.0.0.0@0
		1 bind 127.0.0.1:0`,
	"options": `
		0 socket tcp4
		0 get nodelay
		0 get keepalive
		0 get reuse
		0 set nodelay 1
		0 get nodelay
		0 set keepidle 0
		0 set keepidle 40000
		0 set keepidle 5
		0 get keepidle
		0 set v6only 1
		0 set error 1
		0 set listening 1
		0 set ttl 0
		0 set ttl 256
		0 set ttl 9
		0 get ttl
		0 set tos 16
		0 get tos
		1 socket udp4
		1 get broadcast
		1 set broadcast 1
		1 get broadcast
		1 get error
		2 socket tcp6
		2 get v6only
		2 set v6only 1
		2 get v6only
		2 bind [::]:0
		2 set v6only 0`,
}
