package pvdtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync/atomic"
	"time"
)

// An authority issues the certificates of a lab's servers. Its keys are not of the lab's
// seed, and nobody but the lab knows them.
type authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial atomic.Int64
}

// certLife is how long before and after they are made certificates are valid, by the lab's
// clock: labs with manual time go through days.
const certLife = 10 * 365 * 24 * time.Hour

func newAuthority(now time.Time) (*authority, error) {
	a := &authority{}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	t := a.template(now)
	t.Subject.CommonName = "the lab's authority"
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage, t.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
	der, err := x509.CreateCertificate(rand.Reader, t, t, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	a.cert, err = x509.ParseCertificate(der)
	return a, err
}

func (a *authority) template(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial.Add(1)),
		Subject:      pkix.Name{CommonName: "a server of the lab"},
		NotBefore:    now.Add(-certLife),
		NotAfter:     now.Add(certLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// issue returns a certificate for names. Change may be nil.
func (a *authority) issue(now time.Time, change func(*x509.Certificate), names ...string) (*tls.Certificate, error) {
	t := a.template(now)
	t.DNSNames = names
	if change != nil {
		change(t)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("certificate for %v: %w", names, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// CA returns the trust anchors by which the certificates of the lab's servers are valid,
// and by which nothing else is. Each lab has its own.
func (l *Lab) CA() *x509.CertPool {
	l.tb.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(l.authority().cert)
	return pool
}

// authority returns the lab's, which it makes at the first call.
func (l *Lab) authority() *authority {
	l.tb.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ca == nil {
		a, err := newAuthority(l.clock.Now())
		if err != nil {
			l.tb.Fatalf("pvdtest: an authority for certificates: %v", err)
		}
		l.ca = a
	}
	return l.ca
}
