package daemon

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
)

func TestLeaseFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, err := openState(dir)
	if err != nil {
		t.Fatal(err)
	}
	const name = "../wan" // no way out of the directory
	load := func(want string) {
		t.Helper()
		if got, err := s.Load(name); err != nil || string(got) != want {
			t.Errorf("Load = %q, %v, want %q", got, err, want)
		}
	}
	load("")
	for _, lease := range []string{"first, which is long", "second"} {
		if err := s.Save(name, []byte(lease)); err != nil {
			t.Fatal(err)
		}
		load(lease)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file %v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(dir, files[0].Name()), make([]byte, maxState+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(name); err == nil {
		t.Error("a file beyond all measure is read")
	}
	for range 2 { // what is not there is gone
		if err := s.Save(name, nil); err != nil {
			t.Error(err)
		}
	}
	load("")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(name, []byte("x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its directory: %v", err)
	}
}

func TestSecretIsKept(t *testing.T) {
	dir := t.TempDir()
	var secrets [][]byte
	for range 2 {
		s, err := openState(dir)
		if err != nil {
			t.Fatal(err)
		}
		key, err := s.secret()
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, key)
	}
	if len(secrets[0]) != secretLength || !bytes.Equal(secrets[0], secrets[1]) {
		t.Errorf("secrets %x", secrets)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &state{dir}
	if _, err := s.secret(); err == nil || !strings.Contains(err.Error(), "secret: 5 octets, want 32") {
		t.Errorf("error %v", err)
	}
	if s, err := openState(""); s != nil || err != nil {
		t.Errorf("without a directory: %v, %v", s, err)
	}
	if _, err := openState(filepath.Join(dir, "secret")); err == nil {
		t.Error("a file does as a directory")
	}
}

func TestRoots(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if pool, err := loadRoots(""); pool != nil || err != nil {
		t.Errorf("without a file: %v, %v", pool, err)
	}
	for name, text := range map[string]string{
		"empty": "", "text": "hello", "key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"garbage": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "long": strings.Repeat(" ", maxState+1),
	} {
		if _, err := loadRoots(write(name, []byte(text))); err == nil || !strings.HasPrefix(err.Error(), "roots: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	good := write("good", certificate(t))
	if pool, err := loadRoots(good); pool == nil || err != nil {
		t.Errorf("a certificate: %v, %v", pool, err)
	}
	c := &config.Config{File: "c", Roots: good, RootsAt: config.Position{Line: 3, Column: 4}}
	if err := Rehearse(context.Background(), c); err != nil {
		t.Error(err)
	}
	c.Roots = filepath.Join(dir, "none")
	err := Rehearse(context.Background(), c)
	if faults, ok := errors.AsType[config.Faults](err); !ok || !strings.HasPrefix(faults.Error(), "c:3:4: roots: open ") {
		t.Errorf("error %v", err)
	}
}

// certificate returns one in PEM.
func certificate(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
