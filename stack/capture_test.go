package stack_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// A host's capture has each PvD under an interface of its own, both ways.
func TestCapture(t *testing.T) {
	var file bytes.Buffer
	capture := tun.NewCapture(&file, tun.CaptureConfig{})
	h, err := stack.New(stack.Config{Capture: capture})
	if err != nil {
		t.Fatal(err)
	}
	far := newHost(t)
	pipe(t, "wire", h, far)
	for name, addrs := range map[string][2]string{"corp": {"10.0.0.1/24", "10.0.0.2/24"}, "home": {"10.0.1.1/24", "10.0.1.2/24"}} {
		c := config("wire", addrs[0])
		c.Name = name
		n, peer := add(t, h, c), add(t, far, config("wire", addrs[1]))
		client, server := connect(t, n, peer, addrs[1][:len(addrs[1])-3])
		go func() { _, _ = client.Write([]byte("hello from " + name)); _ = client.Close() }()
		if got, err := io.ReadAll(server); err != nil || string(got) != "hello from "+name {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := capture.Close(); err != nil {
		t.Fatal(err)
	}
	frames := make(map[uint32]int)
	for b := file.Bytes(); len(b) >= 12; b = b[binary.LittleEndian.Uint32(b[4:]):] {
		if binary.LittleEndian.Uint32(b) == 6 { // an enhanced packet block
			frames[binary.LittleEndian.Uint32(b[8:])]++
		}
	}
	if len(frames) != 2 || frames[0] < 6 || frames[1] < 6 {
		t.Errorf("frames by interface: %v", frames)
	}
	for _, s := range []string{"wire/corp", "wire/home", "hello from corp", "hello from home"} {
		if !bytes.Contains(file.Bytes(), []byte(s)) {
			t.Errorf("no %q in the capture", s)
		}
	}
}
