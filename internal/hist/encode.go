package hist

import (
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	hdrhistogram "github.com/HdrHistogram/hdrhistogram-go"
)

// MaxEncodedBytes bounds what DecodeV2 reads. The largest histogram of our
// geometry has 33,792 buckets of at most 9 bytes each: 406 KB in base64.
const MaxEncodedBytes = 1 << 19

// ErrEncoding says that a text is not a histogram that EncodeV2 wrote.
var ErrEncoding = errors.New("not a latency histogram of this tool (HDR V2, 1 ns to 1 h, 3 digits)")

// EncodeV2 returns the recorded entries in the HDR V2 compressed encoding, in
// base64: any HdrHistogram library reads it, values in nanoseconds. The
// censored count is not part of the format; keep it beside the text. Equal
// histograms give equal texts.
func (h *Histogram) EncodeV2() (string, error) {
	b, err := h.hdr.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return "", fmt.Errorf("encode histogram: %w", err)
	}
	return string(b), nil
}

// DecodeV2 reads what EncodeV2 wrote and adds the censored count that was kept
// beside it. Counts and percentiles are those of the original; minimum and
// maximum have become the edges of their buckets. It refuses, with
// ErrEncoding, any other text: one of another range or precision included,
// because its values cannot be merged without loss.
func DecodeV2(s string, censored int64) (*Histogram, error) {
	if censored < 0 || censored > MaxCount {
		return nil, fmt.Errorf("decode histogram: censored count %d is outside 0..%d", censored, int64(MaxCount))
	}
	if err := checkHeader(s); err != nil {
		return nil, fmt.Errorf("decode histogram: %w: %v", ErrEncoding, err)
	}
	hdr, err := hdrhistogram.Decode([]byte(s))
	if err != nil {
		return nil, fmt.Errorf("decode histogram: %w: %v", ErrEncoding, err)
	}
	h := &Histogram{hdr: hdr, censored: censored}
	if h.Count() > MaxCount {
		return nil, fmt.Errorf("decode histogram: %w: it claims %d entries, more than %d", ErrEncoding, h.Count(), int64(MaxCount))
	}
	if h.Count() == 0 {
		return h, nil
	}
	h.minNs, h.maxNs = hdr.Min(), hdr.Max()
	if h.maxNs > HighestNs && !hdr.ValuesAreEquivalent(h.maxNs, HighestNs) {
		return nil, fmt.Errorf("decode histogram: %w: it holds values up to %d ns", ErrEncoding, h.maxNs)
	}
	h.maxNs = min(h.maxNs, HighestNs)
	return h, nil
}

// checkHeader reads only the two headers and compares the geometry, because the
// library allocates whatever geometry a text names, up to 50 MB.
//
// Layout (big endian): cookie i32, length i32, then zlib of: cookie i32,
// payload length i32, index offset i32, digits i32, lowest i64, highest i64,
// conversion ratio f64, counts.
func checkHeader(s string) error {
	if len(s) > MaxEncodedBytes {
		return fmt.Errorf("%d bytes long, more than %d", len(s), MaxEncodedBytes)
	}
	const outerBytes = 8
	text := base64.NewDecoder(base64.StdEncoding, strings.NewReader(s))
	if _, err := io.CopyN(io.Discard, text, outerBytes); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	z, err := zlib.NewReader(text)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	defer z.Close()
	var header struct {
		Cookie, PayloadBytes, IndexOffset, Digits int32
		Lowest, Highest                           int64
		ConversionRatio                           float64
	}
	if err := binary.Read(z, binary.BigEndian, &header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if header.Digits != SignificantDigits || header.Lowest != unitNs || header.Highest != HighestNs ||
		header.ConversionRatio != 1 {
		return fmt.Errorf("its range is %d to %d with %d digits and unit %v",
			header.Lowest, header.Highest, header.Digits, header.ConversionRatio)
	}
	return nil
}
