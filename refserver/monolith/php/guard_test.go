package php

import (
	"context"
	"errors"
	"io/fs"
	"log"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver/parts"
)

// The test binary is also the guard of the programs that it starts, and a parent
// that can be killed.
const (
	guardArg = "guard"
	// parentEnv holds the directory that the parent works in, and the addresses
	// of what it needs.
	parentEnv = "PHP_TEST_PARENT"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == guardArg {
		status, err := proc.RunGuard(os.Args[2:])
		if err != nil {
			log.Print(err)
		}
		os.Exit(status)
	}
	if needs := os.Getenv(parentEnv); needs != "" {
		time.AfterFunc(4*stopLimit, func() { log.Fatal("forgotten") }) // a failing test must not leave processes behind either
		beParent(strings.Fields(needs))
	}
	// The race detector would hold up the end of every guard for a second.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		log.Fatal(err)
	}
	m.Run()
}

func guard() []string { return []string{os.Args[0], guardArg} }

// beParent starts a stack, announces its address and waits to be killed.
func beParent(needs []string) {
	base, mariadbSocket, clickhouseAt, addr := needs[0], needs[1], needs[2], needs[3]
	dir, err := proc.NewRunDir(base)
	if err != nil {
		log.Fatal(err)
	}
	_, err = Start(context.Background(), Config{
		Runtime: parts.Runtime{Dir: dir.Path(), Log: os.Stderr, Guard: guard(), GuardSweep: []string{base}},
		Addr:    addr, Admin: "127.0.0.1:1", ClickHouseHTTP: clickhouseAt, Workers: 2,
		MariaDB: &parts.MariaDB{Socket: mariadbSocket, User: "root", Database: "postbench"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := proc.AnnounceReady(os.Stdout, addr, nil); err != nil {
		log.Fatal(err)
	}
	select {}
}

func testKilledParentLeavesNothing(t *testing.T, s *stand) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who descends from whom")
	}
	base := shortDir(t)
	addr, err := parts.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parent, err := proc.Start(t.Context(), proc.Spec{
		Name: "parent", Path: os.Args[0], ReadyTimeout: stopLimit,
		Env: []string{parentEnv + "=" + strings.Join([]string{base, s.mariadb.Socket, s.httpAt, addr}, " ")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = parent.Kill(); <-parent.Done() })
	if n := len(processesOf(t, base)); n < 5 { // two masters, two workers and one
		t.Fatalf("%d processes to begin with", n)
	}
	if err := syscall.Kill(parent.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no process is left", func() bool { return len(processesOf(t, base)) == 0 })
	eventually(t, "no file is left", func() bool { return len(filesOf(t, base)) == 0 })
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	_ = listener.Close()
}

// Whoever gives up while it starts, at any moment, has nothing to tidy up.
func testInterruptedStartLeavesNothing(t *testing.T, s *stand) {
	config := Config{Runtime: parts.Runtime{Guard: guard()}, Admin: "127.0.0.1:1", MariaDB: s.mariadb, ClickHouseHTTP: s.httpAt, Workers: 2}
	for after := 20 * time.Millisecond; after < stopLimit; after *= 2 {
		config.Runtime.Dir = shortDir(t)
		var err error
		if config.Addr, err = parts.FreePort(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), after)
		stack, err := Start(ctx, config)
		cancel()
		if err == nil {
			if err := stack.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", after, err)
		}
		if left := processesOf(t, config.Runtime.Dir); len(left) > 0 {
			t.Errorf("after %v: processes left: %v", after, left)
		}
		if err == nil {
			return
		}
	}
	t.Error("it never started")
}

// processesOf are those whose command line or working directory names dir.
// Zombies have neither.
func processesOf(t *testing.T, dir string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range all {
		command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(process, "cwd"))
		if strings.Contains(string(command), dir) || strings.HasPrefix(cwd, dir) {
			pids = append(pids, filepath.Base(process))
		}
	}
	return pids
}

func filesOf(t *testing.T, dir string) []fs.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(stopLimit); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", stopLimit, what)
		}
		time.Sleep(5 * time.Millisecond) // polling other processes: there is nothing to wait on
	}
}
