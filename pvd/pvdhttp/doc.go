// Package pvdhttp makes HTTP clients whose requests are carried out in one provisioning
// domain each.
//
// An [http.Transport] hands out connections by scheme and address, whichever PvD they
// were made in, and resumes TLS sessions by name: of two requests for one URL in two
// PvDs, the second is answered by the first one's server. So here each PvD has a
// transport, a TLS session cache and connections of its own. Proxies that the
// environment names are those of the host and are not used.
//
// [NewClient] is for one PvD, a [Pool] for any number of them, by the request's context.
package pvdhttp
