package tun_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/tun"
)

// tshark returns what tshark reads in a capture: for each frame a line with the given
// fields, separated by "|".
func tshark(t *testing.T, capture []byte, fields ...string) []string {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark:", err)
	}
	file := filepath.Join(t.TempDir(), "test.pcapng")
	if err := os.WriteFile(file, capture, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"-n", "-r", file, "-T", "fields", "-E", "separator=|",
		"-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.CommandContext(t.Context(), "tshark", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	errText := strings.ReplaceAll(stderr.String(), "Running as user \"root\" and group \"root\". This could be dangerous.\n", "")
	if err != nil || errText != "" {
		t.Fatalf("tshark: %v: %s", err, errText)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// Frames of every shape, whole and to be segmented, that Wireshark has to find right.
func TestCaptureReadByTshark(t *testing.T) {
	var file bytes.Buffer
	capture := tun.NewCapture(&file, tun.CaptureConfig{})
	var want []string
	for _, payload := range []int{1, 100, 65000} {
		for name, p := range packets(payload) {
			if p.proto == protoUDP {
				p.salt = 0x77 // no protocol above UDP: it would be dissected
			}
			f, m := p.frame()
			if payload > 1460 {
				m.GSO, m.GSOSize = p.gso(), 1460
			}
			before := bytes.Clone(f)
			id := capture.Interface("lab/"+name, p.layer)
			capture.Write(id, tun.Out, time.Unix(0, 0), [][]byte{f[:20], f[20:]}, m)
			if !bytes.Equal(before, f) {
				t.Errorf("%s: the frame changed", name)
			}
			ip, tcp, udp := "", "1", ""
			if src, _ := p.addrs(); src.Is4() {
				ip = "1"
			}
			if p.proto == protoUDP {
				tcp, udp = "", "1"
			}
			want = append(want, fmt.Sprintf("lab/%s|%d|%s|%s|%s", name, len(f), ip, tcp, udp))
		}
	}
	if err := capture.Close(); err != nil {
		t.Fatal(err)
	}
	got := tshark(t, file.Bytes(), "frame.interface_name", "frame.len", "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status")
	if !slices.Equal(got, want) {
		t.Errorf("tshark reads\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCaptureLink(t *testing.T) {
	var file bytes.Buffer
	now := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	capture := tun.NewCapture(&file, tun.CaptureConfig{Now: func() time.Time {
		now = now.Add(time.Nanosecond)
		return now
	}})
	a, b := tun.Pipe(tun.PipeConfig{Layer: tun.IP, Names: [2]string{"left", "right"}})
	a, b = capture.Link(a, ""), capture.Link(b, "wire/b")
	defer a.Close()
	defer b.Close()
	f, m := testPacket{layer: tun.IP, payload: 10}.frame()
	if err := a.Send([][]byte{f}, m); err != nil {
		t.Fatal(err)
	}
	var got tun.Meta
	if n, err := b.Recv([][]byte{make([]byte, 2000)}, &got); n != len(f) || err != nil || got != m {
		t.Fatal(n, got, err)
	}
	if err := capture.Close(); err != nil {
		t.Fatal(err)
	}
	// 1772600767 is 2026-03-04 05:06:07; direction 1 is in, 2 is out.
	want := []string{
		"left|1772600767.000000090|0x00000002|1",
		"wire/b|1772600767.000000091|0x00000001|1",
	}
	lines := tshark(t, file.Bytes(), "frame.interface_name", "frame.time_epoch", "frame.packet_flags", "tcp.checksum.status")
	if !slices.Equal(lines, want) {
		t.Errorf("tshark reads %q, want %q", lines, want)
	}
}

// A fileBlock is a pcapng block as a test reads it.
type fileBlock struct {
	kind uint32
	body []byte
}

// blocks splits a capture into its blocks, and checks their framing.
func blocks(t *testing.T, file []byte) []fileBlock {
	t.Helper()
	var out []fileBlock
	for len(file) > 0 {
		if len(file) < 12 {
			t.Fatalf("%d octets behind the last block", len(file))
		}
		n := int(binary.LittleEndian.Uint32(file[4:]))
		if n%4 != 0 || n > len(file) || int(binary.LittleEndian.Uint32(file[n-4:])) != n {
			t.Fatalf("a block of %d octets in %d", n, len(file))
		}
		out = append(out, fileBlock{binary.LittleEndian.Uint32(file), file[8 : n-4]})
		file = file[n:]
	}
	return out
}

// stats returns the counters of a statistics block by option code.
func (b fileBlock) stats() map[uint16]uint64 {
	counters := map[uint16]uint64{}
	for opts := b.body[12:]; len(opts) >= 4; {
		code, n := binary.LittleEndian.Uint16(opts), int(binary.LittleEndian.Uint16(opts[2:]))
		if n == 8 {
			counters[code] = binary.LittleEndian.Uint64(opts[4:])
		}
		opts = opts[4+(n+3)&^3:]
	}
	return counters
}

func TestCaptureByteLimit(t *testing.T) {
	var file bytes.Buffer
	capture := tun.NewCapture(&file, tun.CaptureConfig{MaxBytes: 2000})
	id := capture.Interface("lab", tun.IP)
	for range 10 {
		capture.Write(id, tun.In, time.Time{}, [][]byte{make([]byte, 400)}, tun.Meta{})
	}
	// The limit is final, also for what would still fit.
	capture.Write(id, tun.In, time.Time{}, [][]byte{make([]byte, 4)}, tun.Meta{})
	if file.Len() > 2000 || file.Len() < 1600 {
		t.Errorf("the file has %d octets, want nearly 2000", file.Len())
	}
	if got := capture.Interface("another", tun.IP); got != -1 {
		t.Errorf("interface %d in a full file, want -1", got)
	}
	capture.Write(-1, tun.In, time.Time{}, nil, tun.Meta{})
	left := capture.LeftOut()
	if err := errors.Join(capture.Err(), capture.Close(), capture.Close()); err != nil {
		t.Errorf("a full file is no error of the writer: %v", err)
	}
	written := uint64(0)
	var last fileBlock
	for _, b := range blocks(t, file.Bytes()) {
		if b.kind == 6 {
			written++
		}
		last = b
	}
	if written+left != 12 || written == 0 {
		t.Errorf("%d frames written and %d left out of 12", written, left)
	}
	want := map[uint16]uint64{4: 11, 7: 11 - written, 8: written}
	if last.kind != 5 || fmt.Sprint(last.stats()) != fmt.Sprint(want) {
		t.Errorf("the file ends with block %d, %v, want 5, %v", last.kind, last.stats(), want)
	}
	if !bytes.Contains(last.body, fmt.Appendf(nil, "%d frames left out", 11-written)) {
		t.Errorf("no comment in %q", last.body)
	}
	if n := len(tshark(t, file.Bytes(), "frame.number")); n != int(written) {
		t.Errorf("tshark reads %d frames, want %d", n, written)
	}
}

func TestCaptureInterfaces(t *testing.T) {
	var file bytes.Buffer
	capture := tun.NewCapture(&file, tun.CaptureConfig{})
	a := capture.Interface("lab/corp", tun.IP)
	if capture.Interface("lab/corp", tun.IP) != a {
		t.Error("the same interface has two ids")
	}
	if capture.Interface("lab/corp", tun.Ethernet) == a {
		t.Error("interfaces of two layers are one")
	}
	evil := "a\x00b\x1b[31m\xff" + strings.Repeat("ü", 200)
	capture.Interface(evil, tun.IP)
	for i := range tun.MaxCaptureInterfaces - 3 {
		if capture.Interface(fmt.Sprint(i), tun.IP) < 0 {
			t.Fatalf("no room for interface %d", i)
		}
	}
	if id := capture.Interface("one too many", tun.IP); id != -1 {
		t.Errorf("interface %d, want -1", id)
	}
	capture.Write(-1, tun.In, time.Time{}, [][]byte{{1}}, tun.Meta{})
	if capture.LeftOut() != 1 {
		t.Errorf("%d frames left out, want 1", capture.LeftOut())
	}
	b := blocks(t, file.Bytes())[3]
	name := b.body[12:][:binary.LittleEndian.Uint16(b.body[10:])]
	if want := "ab[31m" + strings.Repeat("ü", 124); string(name) != want {
		t.Errorf("interface name %q, want %q", name, want)
	}
}

func TestCaptureSnapLen(t *testing.T) {
	var file bytes.Buffer
	capture := tun.NewCapture(&file, tun.CaptureConfig{SnapLen: 54})
	f, m := testPacket{layer: tun.Ethernet, payload: 1000}.frame()
	capture.Write(capture.Interface("lab", tun.Ethernet), tun.In, time.Time{}, [][]byte{f}, m)
	if got := tshark(t, file.Bytes(), "frame.cap_len", "frame.len"); got[0] != "54|1054" {
		t.Errorf("tshark reads %q, want 54 octets of 1054", got)
	}
}

// A frame whose Meta makes no sense is recorded as it is, before 1970 too.
func TestCaptureMalformed(t *testing.T) {
	var file bytes.Buffer
	capture := tun.NewCapture(&file, tun.CaptureConfig{})
	id := capture.Interface("lab", tun.IP)
	capture.Write(id, tun.In, time.Unix(-1, 0), [][]byte{{1, 2, 3}}, tun.Meta{Flags: tun.NeedsCsum, CsumStart: 0xffff})
	b := blocks(t, file.Bytes())
	packet := b[len(b)-1].body
	if !bytes.Equal(packet[20:23], []byte{1, 2, 3}) || !bytes.Equal(packet[4:12], make([]byte, 8)) {
		t.Errorf("recorded %x", packet)
	}
}

// A brokenWriter takes n octets and no more.
type brokenWriter struct{ n int }

var errDisk = errors.New("disk full")

func (w *brokenWriter) Write(b []byte) (int, error) {
	if len(b) > w.n {
		return w.n, errDisk
	}
	w.n -= len(b)
	return len(b), nil
}

func TestCaptureWriterFails(t *testing.T) {
	for _, room := range []int{0, 100, 300} {
		capture := tun.NewCapture(&brokenWriter{room}, tun.CaptureConfig{})
		a, b := tun.Pipe(tun.PipeConfig{})
		a = capture.Link(a, "")
		for range 5 {
			if err := a.Send([][]byte{make([]byte, 60)}, tun.Meta{}); err != nil {
				t.Errorf("the capture disturbs the link: %v", err)
			}
		}
		if n := tun.Pending(b); n != 5 {
			t.Errorf("%d frames arrived, want 5", n)
		}
		if err := capture.Err(); !errors.Is(err, errDisk) {
			t.Errorf("Err is %v, want %v", err, errDisk)
		}
		if err := capture.Close(); !errors.Is(err, errDisk) {
			t.Errorf("Close gives %v, want %v", err, errDisk)
		}
		if capture.LeftOut() == 0 {
			t.Error("no frame is counted as left out")
		}
	}
}

func TestCaptureConcurrent(t *testing.T) {
	var file bytes.Buffer
	capture := tun.NewCapture(&file, tun.CaptureConfig{})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 50 {
				id := capture.Interface(fmt.Sprint("if", i), tun.Ethernet)
				capture.Write(id, tun.Out, time.Time{}, [][]byte{make([]byte, 100)}, tun.Meta{})
			}
		})
	}
	all.Wait()
	if err := capture.Close(); err != nil {
		t.Fatal(err)
	}
	capture.Write(0, tun.Out, time.Time{}, nil, tun.Meta{})
	if n := len(blocks(t, file.Bytes())); n != 1+4+200+4 || capture.LeftOut() != 1 {
		t.Errorf("%d blocks, %d frames left out, want 209 and 1", n, capture.LeftOut())
	}
}
