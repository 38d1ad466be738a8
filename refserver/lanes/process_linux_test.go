package lanes

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/postbench/postbench/refserver/shm"
)

// The test binary is also every other process of these tests: roleEnv says which,
// dirEnv which lanes it uses.
const (
	roleEnv = "LANES_TEST_ROLE"
	dirEnv  = "LANES_TEST_DIR"
)

const (
	// testPatience limits the life of a child. Only a failing test uses it up.
	testPatience = 30 * time.Second
	// stoppedFor is how long a producer is stopped: 200 visits of a batcher.
	// stoppedEnv sets another length: 20s is the full proof.
	stoppedFor = 2 * time.Second
	stoppedEnv = "POSTBENCH_STOPPED"
	visitEvery = 10 * time.Millisecond
)

func TestMain(m *testing.M) {
	roles := map[string]func(commands <-chan string){
		"push": pushForEver, "hold": holdASlot, "batch": freeEverySecond, "cramped": openWithoutRoom,
	}
	role := os.Getenv(roleEnv)
	if role == "" {
		m.Run()
		return
	}
	commands := make(chan string)
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			commands <- in.Text()
		}
		os.Exit(0) // the test is gone
	}()
	roles[role](commands)
	select {}
}

func say(line string) {
	if _, err := os.Stdout.WriteString(line + "\n"); err != nil {
		os.Exit(0)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// pushForEver says every record that is in the lane.
func pushForEver(<-chan string) {
	l := must(OpenProducer(testOptions(os.Getenv(dirEnv))))
	for id := range 4 {
		go func() {
			for n := 0; ; {
				record := fmt.Sprintf("%d.%d %s", id, n, strings.Repeat("x", n%400))
				switch err := l.TryPush([]byte(record)); {
				case err == nil:
					say(record)
					n++
				case errors.Is(err, shm.ErrFull):
					runtime.Gosched()
				default:
					log.Fatal(err)
				}
			}
		}()
	}
}

// holdASlot stays between reserving a slot and committing it until told to go on.
func holdASlot(commands <-chan string) {
	l := must(OpenProducer(testOptions(os.Getenv(dirEnv))))
	pushAndSay := func(record string) {
		if err := l.TryPush([]byte(record)); err != nil {
			log.Fatal(err)
		}
		say(record)
	}
	pushAndSay("before")
	pos := reserveByHand(l)
	pushAndSay("after")
	say("holding")
	<-commands
	commitByHand(l, pos, "held")
	say("held")
}

// reserveByHand and commitByHand are the producer's protocol as FORMAT.md has it,
// without package shm.
func reserveByHand(l *Lane) (pos uint64) {
	return atomic.AddUint64((*uint64)(unsafe.Pointer(&l.mapping.mem[256])), 1) - 1
}

func commitByHand(l *Lane, pos uint64, record string) {
	slot := l.mapping.mem[4096+pos%64*512:][:512]
	content := binary.LittleEndian.AppendUint64(nil, pos)
	content = binary.LittleEndian.AppendUint32(content, 1) // epoch
	content = binary.LittleEndian.AppendUint16(content, uint16(len(record)))
	content = binary.LittleEndian.AppendUint16(content, 1) // kind
	content = append(content, record...)
	copy(slot[8:16], content[8:])
	binary.LittleEndian.PutUint32(slot[16:], crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)))
	copy(slot[20:], record)
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&slot[0])), pos+1)
}

// freeEverySecond says what it has freed.
func freeEverySecond(<-chan string) {
	d := must(OpenDir(Options{Dir: os.Getenv(dirEnv)}))
	var freed bool
	d.Visit(math.MaxInt, func(e Entry) {
		if freed = !freed; freed {
			record := string(e.Record)
			d.Free(e.Lane, e.Pos)
			say(record)
		}
	})
	say("done")
}

// openWithoutRoom has mounts of its own: a file system with room for the first lane.
func openWithoutRoom(<-chan string) {
	o := testOptions(os.Getenv(dirEnv))
	if err := syscall.Mount("lanes-test", o.Dir, "tmpfs", 0, fmt.Sprint("size=", 2*shm.Size(o.Slots)-8192)); err != nil {
		say("cannot: " + err.Error())
		return
	}
	first := must(OpenProducer(o))
	_, err := OpenProducer(o)
	if err := first.TryPush([]byte("a")); err != nil {
		log.Fatal(err)
	}
	say(fmt.Sprint("no room: ", errors.Is(err, syscall.ENOSPC), "; lanes hold ", must(Backlog(o.Dir))))
}

// child is one of these processes, which cannot outlive the test.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}

	mu   sync.Mutex
	said []string
}

func startChild(t *testing.T, role, dir string) *child {
	t.Helper()
	c, err := start(t, role, dir, &syscall.SysProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, role, dir string, attr *syscall.SysProcAttr) (*child, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, dirEnv+"="+dir, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	// The closing stdin would not end a child that is stopped; this does.
	attr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	patience := time.AfterFunc(testPatience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { patience.Stop(); c.kill() })
	go func() {
		defer close(c.ended)
		for out := bufio.NewScanner(stdout); out.Scan(); {
			c.mu.Lock()
			c.said = append(c.said, out.Text())
			c.mu.Unlock()
		}
		_ = cmd.Wait()
	}()
	return c, nil
}

// kill returns when the child is dead and all that it said is there.
func (c *child) kill() []string {
	_ = c.cmd.Process.Kill()
	<-c.ended
	return c.lines()
}

func (c *child) lines() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.said)
}

func (c *child) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (c *child) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// each calls f every 10 ms until it returns true.
func each(t *testing.T, what string, f func() bool) {
	t.Helper()
	ticker := time.NewTicker(visitEvery)
	defer ticker.Stop()
	for deadline := time.Now().Add(testPatience); !f(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", testPatience, what)
		}
	}
}

func (c *child) await(t *testing.T, line string) {
	t.Helper()
	each(t, "the child says "+line, func() bool {
		if c.hasEnded() {
			t.Fatalf("the child has ended; it said %q", c.lines())
		}
		return slices.Contains(c.lines(), line)
	})
}

// Killed at any moment: what was acked is delivered, once, and the lane goes to
// the next producer.
func TestKilledProducer(t *testing.T) {
	const kills = 10
	dir := t.TempDir()
	d := openDir(t, dir)
	for round := range kills {
		c := startChild(t, "push", dir)
		delivered := make(map[string]int)
		drain := func() Stats {
			records, entries, stats := visit(t, d)
			for _, r := range records {
				delivered[r]++
			}
			free(d, entries)
			return stats
		}
		each(t, "records come", func() bool { drain(); return len(c.lines()) > 50*round })
		acked := c.kill()
		stats := drain()
		if d.Backlog() != 0 || stats.Corrupt != 0 || stats.Lanes != 1 {
			t.Fatalf("kill %d: backlog %d, %+v; want the one lane drained", round, d.Backlog(), stats)
		}
		for _, r := range acked {
			if delivered[r] == 0 {
				t.Errorf("kill %d: acked, not delivered: %q", round, r)
			}
		}
		for r, n := range delivered {
			if n != 1 {
				t.Errorf("kill %d: delivered %d times: %q", round, n, r)
			}
		}
		if len(delivered) > len(acked)+4 { // each goroutine may not have said its last
			t.Errorf("kill %d: %d delivered, %d acked", round, len(delivered), len(acked))
		}
	}
	if epoch := openProducer(t, testOptions(dir)).mapping.ring.Epoch(); epoch != kills+1 {
		t.Errorf("epoch %d after %d producers, want one more", epoch, kills)
	}
}

func TestKilledWithinAPush(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "hold", dir)
	c.await(t, "holding")
	d := openDir(t, dir)
	entries := wantVisit(t, d, "before", "after")
	free(d, entries)
	if got := d.Backlog(); got != 2 {
		t.Errorf("backlog %d, want 2: the reserved slot and the freed one behind it", got)
	}
	c.kill()
	records, _, stats := visit(t, d)
	if len(records) != 0 || stats.Dead != 1 || stats.Torn != 1 || d.Backlog() != 0 {
		t.Errorf("%q, %+v, backlog %d; want one torn slot and nothing left", records, stats, d.Backlog())
	}
	if _, _, stats := visit(t, d); stats.Dead != 0 || stats.Torn != 1 {
		t.Errorf("drained: %+v; want its lock left alone", stats)
	}
	l := openProducer(t, testOptions(dir))
	if l.mapping.ring.Epoch() != 2 {
		t.Errorf("epoch %d, want 2", l.mapping.ring.Epoch())
	}
	push(t, l, "new")
	wantVisit(t, d, "new")
}

// However long a producer is stopped within a push, its slot stays its own.
func TestStoppedProducerKeepsItsLane(t *testing.T) {
	stopped := stoppedFor
	if text := os.Getenv(stoppedEnv); text != "" {
		var err error
		if stopped, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	c := startChild(t, "hold", dir)
	c.await(t, "holding")
	d := openDir(t, dir)
	c.signal(t, syscall.SIGSTOP)
	var got []string
	start := time.Now()
	each(t, "the time is over", func() bool {
		records, entries, stats := visit(t, d)
		got = append(got, records...)
		free(d, entries)
		if stats.Dead != 0 || stats.Torn != 0 {
			t.Fatalf("stolen: %+v", stats)
		}
		return time.Since(start) > stopped
	})
	o := testOptions(dir)
	o.MaxLanes = 1
	if _, err := OpenProducer(o); !errors.Is(err, ErrNoLane) {
		t.Errorf("a new producer: %v, want ErrNoLane", err)
	}
	c.signal(t, syscall.SIGCONT)
	if _, err := io.WriteString(c.stdin, "go on\n"); err != nil {
		t.Fatal(err)
	}
	c.await(t, "held")
	records, entries, _ := visit(t, d)
	free(d, entries)
	if got = append(got, records...); !slices.Equal(got, []string{"before", "after", "held"}) {
		t.Errorf("delivered %q", got)
	}
	if d.Backlog() != 0 {
		t.Errorf("backlog %d, want 0", d.Backlog())
	}
}

func TestKilledBatcher(t *testing.T) {
	o := testOptions(t.TempDir())
	l := openProducer(t, o)
	push(t, l, "a", "b", "c", "d", "e")
	c := startChild(t, "batch", o.Dir)
	c.await(t, "done")
	if _, err := OpenDir(o); !errors.Is(err, ErrConsumed) {
		t.Errorf("while it lives: %v, want ErrConsumed", err)
	}
	if freed := c.kill(); !slices.Equal(freed, []string{"a", "c", "e", "done"}) {
		t.Fatalf("it freed %q", freed)
	}
	push(t, l, "f")
	d := openDir(t, o.Dir)
	free(d, wantVisit(t, d, "b", "d", "f"))
	if got := d.Backlog(); got != 0 {
		t.Errorf("backlog %d, want 0", got)
	}
}

// skipOutsideCI leaves a test out on a machine that lacks something. CI must
// have it all: there, what is not checked is not green.
func skipOutsideCI(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("cannot be checked, and CI leaves nothing out: ", reason)
	}
	t.Skip(reason)
}

// A lane that the file system has no room for is refused when it is made; written
// to, it would be a SIGBUS.
func TestNoRoomForALane(t *testing.T) {
	c, err := start(t, "cramped", t.TempDir(), &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, // the mount is nobody else's and goes with it
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	})
	if err != nil {
		skipOutsideCI(t, "no namespaces here: "+err.Error())
	}
	each(t, "the child says what it found", func() bool { return len(c.lines()) > 0 || c.hasEnded() })
	switch got := strings.Join(c.kill(), "; "); {
	case strings.HasPrefix(got, "cannot: "):
		skipOutsideCI(t, got)
	case got != "no room: true; lanes hold 1":
		t.Errorf("the child says %q", got)
	}
}
