package daemon

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pvdstack/pvdstack/stack"
)

// loadRoots reads trust anchors. Without a path they are nil: the system's.
func loadRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := readAtMost(path, maxState)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	pool, n := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, fmt.Errorf("roots: %s: block %d of type %q is no certificate: %w", path, n+1, block.Type, errors.Join(err, fs.ErrInvalid))
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, fmt.Errorf("roots: %s: there is no certificate in it: %w", path, fs.ErrInvalid)
	}
	return pool, nil
}

// readAtMost reads a file that is no longer than limit.
func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s: longer than %d octets", path, limit)
	}
	return text, err
}

// secretLength is that of the key of HMAC-SHA-256 that is of most use (RFC 2104 section 3).
const secretLength = 32

// A state is a directory with what is to be known after a restart.
type state struct{ dir string }

var _ stack.Leases = (*state)(nil)

// openState returns the state in a directory, which it makes if need be. Without a directory
// it is nil.
func openState(dir string) (*state, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return &state{dir}, nil
}

// secret returns the key that hardware addresses and interface identifiers are made of, which
// are the same as long as it is. A nil state has none.
func (s *state) secret() ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	path := filepath.Join(s.dir, "secret")
	key, err := readAtMost(path, secretLength)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key = make([]byte, secretLength)
		if _, err = rand.Read(key); err == nil {
			err = replaceFile(path, key)
		}
	case err == nil && len(key) != secretLength:
		err = fmt.Errorf("%s: %d octets, want %d: remove it to have a new one made", path, len(key), secretLength)
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return key, nil
}

func (s *state) path(name string) string {
	return filepath.Join(s.dir, url.PathEscape(name)+".lease")
}

// Load implements [stack.Leases].
func (s *state) Load(name string) ([]byte, error) {
	text, err := readAtMost(s.path(name), maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return text, nil
}

// Save implements [stack.Leases]. Whoever reads the file finds what was there before or all
// that is new, also after a crash.
func (s *state) Save(name string, lease []byte) error {
	path := s.path(name)
	if lease == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("state: %w", err)
		}
		return nil
	}
	if err := replaceFile(path, lease); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

func replaceFile(path string, text []byte) (err error) {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(next))
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(next, path)
}
