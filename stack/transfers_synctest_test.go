//go:build synctest

package stack

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// TestTransfersEnd sends 1 MiB over and over across 2 % loss, 50 ms and reordering, with
// the TCP options that ship. Every byte arrives, Close is enough for the sender, and no
// endpoint stays behind, in FIN-WAIT-1 or elsewhere.
//
// TRANSFERS is how many there are; 10,000 of them take some minutes.
func TestTransfersEnd(t *testing.T) {
	total := 500
	if s := os.Getenv("TRANSFERS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("TRANSFERS=%q is not a number of transfers", s)
		}
		total = n
	}
	const atOnce = 25
	for seed := 0; total > 0; seed++ {
		n := min(total, atOnce)
		total -= n
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { transferAll(t, uint64(seed), n) })
		})
	}
}

// patience is how long a transfer that takes some seconds may take, in virtual time,
// which would otherwise go on for ever with one that is stuck.
const patience = 10 * time.Minute

func transferAll(t *testing.T, seed uint64, n int) {
	// With RACK on, two of 2,000 such transfers never end.
	from, to := impairedPair(t, seed, tun.Impairment{
		Loss: 0.02, Delay: 50 * time.Millisecond, Reorder: 0.1, ReorderBy: 10 * time.Millisecond,
	})
	data := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(data)
	want := sha256.Sum256(data)
	l, err := to.host.In(to.ref).Listen(t.Context(), "tcp", "10.0.0.2:80")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			c, err := from.host.In(from.ref).DialContext(t.Context(), "tcp", "10.0.0.2:80")
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := io.Copy(c, bytes.NewReader(data)); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			sum := sha256.New()
			got, err := io.Copy(sum, c)
			if err != nil || got != int64(len(data)) || [32]byte(sum.Sum(nil)) != want {
				t.Errorf("%d octets arrived, %v", got, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_ = l.Close()
	// The last ACKs, and twice the time that TIME-WAIT takes.
	time.Sleep(3 * time.Minute)
	for name, d := range map[string]*domain{"sender": from, "receiver": to} {
		if left := len(d.stk.RegisteredEndpoints()) + len(d.stk.CleanupEndpoints()); left > 0 {
			t.Errorf("%d endpoints of the %s have not ended", left, name)
		}
	}
}

// impairedPair returns two PvDs in hosts of their own, 10.0.0.1 and 10.0.0.2, with an
// impairment between them, both ways.
func impairedPair(t *testing.T, seed uint64, imp tun.Impairment) (a, b *domain) {
	t.Helper()
	la, lb := tun.Pipe(tun.PipeConfig{Layer: tun.IP, Queue: tun.MaxPipeQueue})
	ia, err := tun.Impair(la, tun.ImpairConfig{Seed: seed, Out: imp})
	if err != nil {
		t.Fatal(err)
	}
	ib, err := tun.Impair(lb, tun.ImpairConfig{Seed: seed + 1e6, Out: imp})
	if err != nil {
		t.Fatal(err)
	}
	return soleDomain(t, ia, "10.0.0.1/24"), soleDomain(t, ib, "10.0.0.2/24")
}

// soleDomain returns the only PvD of a new host, which has one link and one address.
func soleDomain(t *testing.T, l tun.Link, addr string) *domain {
	t.Helper()
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := h.AddLink("wire", l); err != nil {
		t.Fatal(err)
	}
	ref, err := h.Add(t.Context(), pvd.Config{Links: []string{"wire"}, Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix(addr)}}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := h.domain(ref)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
