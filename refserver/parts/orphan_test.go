package parts

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/postbench/postbench/internal/proc"
)

// beParent starts every database in a run directory below base, announces their
// process ids and ports, and waits to be killed.
func beParent(base string) {
	dir, err := proc.NewRunDir(base)
	if err != nil {
		log.Fatal(err)
	}
	rt := Runtime{Dir: dir.Path(), Guard: []string{os.Args[0], guardArg}, GuardSweep: []string{base}}
	m, errM := StartMariaDB(context.Background(), rt, dir.Path())
	c, errC := StartClickHouse(context.Background(), rt, dir.Path())
	r, errR := StartRedis(context.Background(), rt)
	if err := errors.Join(errM, errC, errR); err != nil {
		log.Fatal(err)
	}
	if err := proc.AnnounceReady(os.Stdout, fmt.Sprint(m.Pid(), " ", c.Pid(), " ", r.Pid()), map[string]string{"http": c.HTTP}); err != nil {
		log.Fatal(err)
	}
	select {}
}

func TestKilledParentLeavesNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who descends from whom")
	}
	for _, found := range Installed()[:3] {
		if found.Missing != nil && os.Getenv("CI") == "" {
			t.Skip(found.Missing)
		}
	}
	base, err := os.MkdirTemp("", "pb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	parent, err := proc.Start(t.Context(), proc.Spec{
		Name: "parent", Path: os.Args[0], Env: []string{roleEnv + "=parent", baseEnv + "=" + base}, ReadyTimeout: testPatience,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = parent.Kill(); <-parent.Done() })
	pids := strings.Fields(parent.Addr())
	for _, pid := range pids {
		if gone(t, pid) {
			t.Fatalf("process %s is gone to begin with", pid)
		}
	}
	if err := syscall.Kill(parent.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		eventually(t, "process "+pid+" is gone", func() bool { return gone(t, pid) })
	}
	eventually(t, "no file is left", func() bool {
		entries, err := os.ReadDir(base)
		return err == nil && len(entries) == 0
	})
	listener, err := net.Listen("tcp", parent.Also("http"))
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	_ = listener.Close()
}

// gone is also true for a zombie.
func gone(t *testing.T, pid string) bool {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil || n <= 0 {
		t.Fatalf("process id %q", pid)
	}
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}
