package machine

import (
	"os"
	"runtime"
	"testing"
)

func TestInMemory(t *testing.T) {
	if InMemory("/no/such/path") {
		t.Error("a path that does not exist lies in memory")
	}
	if _, err := os.Stat("/dev/shm"); runtime.GOOS == "linux" && err == nil && !InMemory("/dev/shm") {
		t.Error("/dev/shm does not lie in memory")
	}
}
