// Package tuntest helps to test links and what stands on them: network namespaces with
// the kernel as a peer ([NewNS], Linux and root only), and a suite that every
// implementation of tun.Link has to pass ([TestLink]).
package tuntest
