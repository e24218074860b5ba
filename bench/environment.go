package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// writeEnvironment prints what the figures below were measured on.
func (b *bench) writeEnvironment() {
	fmt.Fprint(b.out, "# pvdstack benchmark\n\n")
	writeRow(b.out, "what", "value")
	writeRow(b.out, "---", "---")
	for _, r := range [][2]string{
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"kernel", kernelVersion()},
		{"processor", fmt.Sprintf("%s, %d cores", processor(), runtime.NumCPU())},
		{"Go", fmt.Sprintf("%s, GOMAXPROCS=%d, GOGC=%d", runtime.Version(), runtime.GOMAXPROCS(0), b.o.gogc)},
		{"gVisor", moduleVersion("gvisor.dev/gvisor")},
		{"wireguard/tun", moduleVersion("golang.zx2c4.com/wireguard")},
		{"MTU", fmt.Sprint(b.o.mtu)},
		{"congestion control", cubic + " everywhere"},
		{"rounds", fmt.Sprintf("%d of %v", b.o.rounds, b.o.window)},
	} {
		writeRow(b.out, r[0], r[1])
	}
	fmt.Fprint(b.out, "\nFigures are medians of all rounds, with the least and the largest.\n")
}

func kernelVersion() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return err.Error()
	}
	defer f.Close() //nolint:errcheck // read only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
