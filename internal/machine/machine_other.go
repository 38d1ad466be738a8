//go:build !linux

package machine

import "time"

// SampleCPU is ErrUnsupported here: only Linux tells stolen time.
func SampleCPU() (CPUSample, error) { return CPUSample{}, ErrUnsupported }

// ProcessCPU is ErrUnsupported here: other systems tell it only after the end.
func ProcessCPU(pid int) (time.Duration, error) { return 0, ErrUnsupported }
