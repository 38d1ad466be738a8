//go:build linux || darwin

package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writerOf names the file that this program shall write into, as a child, until
// it is killed.
const writerOf = "POSTBENCH_TEST_ACCESS_LOG"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerOf); path != "" {
		writeUntilKilled(path)
	}
	os.Exit(m.Run())
}

func writeUntilKilled(path string) {
	log, err := OpenMapped(path, MappedOptions{ChunkBytes: minChunkBytes})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for worker := range 4 {
		go func() {
			for i := 0; ; i++ {
				awaitRoom(log)
				log.Log(request(fmt.Sprintf("/%d/%d?sig=x&%s\n", worker, i, strings.Repeat("x", i%100))))
			}
		}()
	}
	select {}
}

// awaitRoom makes the caller no faster than the log grows.
func awaitRoom(log *Log) {
	if log.mapped == nil {
		awaitEmpty(log)
		return
	}
	for log.mapped.ready.Load()-log.mapped.next.Load() < log.mapped.chunk {
		time.Sleep(100 * time.Microsecond) // polls
	}
}

func awaitEmpty(log *Log) {
	for log.background {
		log.mu.Lock()
		waiting := len(log.pending)
		log.mu.Unlock()
		if waiting < cap(log.pending)/2 {
			return
		}
		time.Sleep(100 * time.Microsecond) // polls
	}
}

func openTest(t *testing.T, path string) *Log {
	t.Helper()
	log, err := OpenMapped(path, MappedOptions{ChunkBytes: minChunkBytes, MaxFileBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func mustClose(t *testing.T, log *Log) {
	t.Helper()
	if err := log.Close(); err != nil || log.Dropped() != 0 {
		t.Errorf("Close: %v, %d dropped", err, log.Dropped())
	}
}

// One entry of 200 bytes into a real file, as a request sees it: nobody logs faster
// than the writer in the background writes.
func BenchmarkLog(b *testing.B) {
	for _, name := range []string{"json on request", "json in background", "capnp mapped"} {
		b.Run(name, func(b *testing.B) {
			file, err := os.Create(filepath.Join(b.TempDir(), "access.log"))
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			log := New(file, Options{Background: name == "json in background"})
			if name == "capnp mapped" {
				if log, err = OpenMapped(file.Name(), MappedOptions{}); err != nil {
					b.Fatal(err)
				}
			}
			e := request("/pb/signed?click_id=" + strings.Repeat("c", 32) + "&txid=t&sig=" + strings.Repeat("0", 64))
			b.ReportAllocs()
			for i := 1; b.Loop(); i++ {
				if log.Log(e); i%1_000 == 0 {
					b.StopTimer()
					awaitRoom(log)
					b.StartTimer()
				}
			}
			if err := log.Close(); err != nil || log.Dropped() > 0 {
				b.Errorf("%v, %d dropped", err, log.Dropped())
			}
		})
	}
}

func fileBytes(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMappedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log.capnp")
	var want []byte
	for round := range 3 { // each continues what was there
		log := openTest(t, path)
		for i := range 100 {
			e := request(tenthURI(round*100 + i))
			log.Log(e)
			want = appendMessage(want, e)
			if !bytes.HasPrefix(fileBytes(t, path), want) {
				t.Fatalf("round %d: entry %d is not in the file", round, i)
			}
			awaitRoom(log)
		}
		mustClose(t, log)
		if !bytes.Equal(fileBytes(t, path), want) {
			t.Fatalf("round %d: the file holds something else", round)
		}
	}
}

func TestMappedFileIsOnesOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log.capnp")
	log := openTest(t, path)
	if _, err := OpenMapped(path, MappedOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !BeingWritten(f) {
		t.Error("nobody writes")
	}
	mustClose(t, log)
	if BeingWritten(f) {
		t.Error("somebody still writes")
	}
	mustClose(t, openTest(t, path))
}

// What is no log of ours stays as it is.
func TestMappedFileRefused(t *testing.T) {
	dir := t.TempDir()
	full := appendMessage(nil, request("/a"))
	for len(full) < minChunkBytes {
		full = append(full, full...)
	}
	for name, test := range map[string]struct {
		content []byte
		want    error
	}{
		"json":    {[]byte(lineOf(request("/a"))), &CorruptError{}},
		"damaged": {append(bytes.Clone(full), "damaged, damaged"...), &CorruptError{}},
		"full":    {full, ErrFull},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, test.content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenMapped(path, MappedOptions{ChunkBytes: minChunkBytes, MaxFileBytes: minChunkBytes})
		var corrupt *CorruptError
		if !errors.Is(err, test.want) && !(errors.As(test.want, &corrupt) && errors.As(err, &corrupt)) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(fileBytes(t, path), test.content) {
			t.Errorf("%s: changed", name)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "json"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "link"), filepath.Join(dir, "no", "such")} {
		if _, err := OpenMapped(path, MappedOptions{}); err == nil {
			t.Errorf("opened %s", path)
		}
	}
}

// A process is killed while four goroutines log: all that its successor finds is
// whole, in order, and without a gap.
func TestMappedKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log.capnp")
	for round := range 5 {
		killWriter(t, path)
		killed := fileBytes(t, path)
		uris, skipped, end, err := readAll(killed)
		if err != nil || skipped > 4*(round+1) || !bytes.Equal(killed[end:], make([]byte, int64(len(killed))-end)) {
			t.Errorf("round %d: %d unfinished, ended at %d of %d, %v", round, skipped, end, len(killed), err)
		}
		t.Logf("%d unfinished in %d bytes", skipped, end)
		requireInOrder(t, uris)
		mustClose(t, openTest(t, path))
		tidy := fileBytes(t, path)
		if again, _, offset, err := readAll(tidy); again != uris || offset != int64(len(tidy)) || err != nil {
			t.Errorf("round %d: tidied up, the file reads otherwise: ended at %d of %d, %v", round, offset, len(tidy), err)
		}
	}
}

// killWriter starts a child that writes into path, and kills it when it has
// written some chunks.
func killWriter(t *testing.T, path string) {
	t.Helper()
	enough := int64(8 * minChunkBytes)
	if before, err := os.Stat(path); err == nil {
		enough += before.Size()
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerOf+"="+path)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if now, err := os.Stat(path); err == nil && now.Size() > enough {
			return
		}
		time.Sleep(time.Millisecond) // polls
	}
	t.Fatal("the child writes nothing")
}

// requireInOrder looks at the entries of some children, one after the other: each
// of their workers counts from 0.
func requireInOrder(t *testing.T, uris string) {
	t.Helper()
	var next [4]int
	for line := range strings.Lines(uris) {
		var worker, i int
		if _, err := fmt.Sscanf(line, "/%d/%d?sig=redacted&", &worker, &i); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if i != 0 && i != next[worker] {
			t.Fatalf("worker %d: entry %d follows %d", worker, i, next[worker]-1)
		}
		next[worker] = i + 1
	}
}
