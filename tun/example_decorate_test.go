package tun_test

import (
	"bytes"
	"fmt"
	"time"

	"github.com/pvdstack/pvdstack/tun"
)

// A link that loses the third SYN, recorded as its holder sees it and as it is on the
// wire.
func ExampleImpair() {
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
	defer far.Close()

	var file bytes.Buffer // or an os.File, in a bufio.Writer
	capture := tun.NewCapture(&file, tun.CaptureConfig{})
	lossy, err := tun.Impair(capture.Link(near, "wire"), tun.ImpairConfig{
		Seed: 1,
		Out:  tun.Impairment{Drop: tun.Nth(3, tun.SYN)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	link := capture.Link(lossy, "host") // what a stack would be given
	defer link.Close()

	for range 5 {
		frame, meta := testPacket{layer: tun.IP, flags: flagSYN}.frame()
		if err := link.Send([][]byte{frame}, meta); err != nil {
			fmt.Println(err)
		}
	}
	out, _ := lossy.Counters()
	fmt.Printf("sent %d, dropped %d of %d\n", out.Sent, out.DropPredicate, out.Frames)

	// From now on it is only slow.
	if err := lossy.Set(tun.Impairment{Delay: 25 * time.Millisecond}, tun.Impairment{}); err != nil {
		fmt.Println(err)
	}
	if err := capture.Close(); err != nil {
		fmt.Println(err)
	}
	// Output: sent 4, dropped 1 of 5
}
