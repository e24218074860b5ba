package addinfo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// testCA is an authority whose certificates are valid around now.
type testCA struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newCA(t *testing.T) *testCA {
	ca := &testCA{t: t}
	root := ca.template(func(c *x509.Certificate) { authority(c) })
	made := ca.sign(root, nil)
	ca.cert, ca.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
	return ca
}

func authority(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
	c.Subject.CommonName = "an authority"
}

func (ca *testCA) template(change func(*x509.Certificate)) *x509.Certificate {
	ca.next++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(ca.next),
		Subject:      pkix.Name{CommonName: "a server"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(c)
	return c
}

// sign returns a certificate by parent, or by itself.
func (ca *testCA) sign(c *x509.Certificate, parent *tls.Certificate) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	by, byKey := c, key
	if parent != nil {
		by, byKey = parent.Leaf, parent.PrivateKey.(*ecdsa.PrivateKey)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), byKey)
	if err != nil {
		ca.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (ca *testCA) self() *tls.Certificate {
	return &tls.Certificate{Leaf: ca.cert, PrivateKey: ca.key}
}

// issue returns a certificate for names, changed as the caller likes.
func (ca *testCA) issue(change func(*x509.Certificate), names ...string) tls.Certificate {
	return ca.sign(ca.template(func(c *x509.Certificate) {
		c.DNSNames = names
		if change != nil {
			change(c)
		}
	}), ca.self())
}

func (ca *testCA) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}
