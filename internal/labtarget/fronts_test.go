package labtarget

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/postbench/postbench/internal/ingestpb"
)

// fronts sends a plain postback over each protocol; the status is 0 when no
// answer came within its time.
func fronts(t *testing.T) map[string]func(target *Target, clickID string) int {
	t.Helper()
	const wait = 300 * time.Millisecond
	path := func(clickID string) string {
		return "/pb?click_id=" + clickID + "&offer_id=o&event=sale&payout=2.5&currency=EUR"
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	overHTTP2 := &http.Transport{Protocols: protocols}
	t.Cleanup(overHTTP2.CloseIdleConnections)
	return map[string]func(*Target, string) int{
		"HTTP/1.1": func(target *Target, clickID string) int { return send(t, target, clickID) },
		"HTTP/2": func(target *Target, clickID string) int {
			client := http.Client{Transport: overHTTP2, Timeout: wait}
			response, err := client.Post(target.HTTP2URL()+path(clickID), "text/plain", strings.NewReader("body"))
			if err != nil {
				return 0
			}
			defer response.Body.Close()
			if text, err := io.ReadAll(response.Body); err != nil || string(text) != http.StatusText(response.StatusCode) {
				t.Errorf("answered %q, %v", text, err)
			}
			return response.StatusCode
		},
		"gRPC": func(target *Target, clickID string) int {
			stream := dialIngest(t, target, wait)
			if err := stream.Send(&ingestpb.Postback{Seq: 7, Target: []byte(path(clickID)), Method: "POST", Body: []byte("body")}); err != nil {
				t.Error(err)
			}
			ack, err := stream.Recv()
			if err != nil {
				return 0
			}
			if ack.Seq != 7 || string(ack.Body) != http.StatusText(int(ack.Status)) {
				t.Errorf("acked %v", ack)
			}
			return int(ack.Status)
		},
	}
}

// dialIngest opens a stream that ends after a while, and with the test.
func dialIngest(t *testing.T, target *Target, wait time.Duration) ingestpb.Ingest_StreamClient {
	t.Helper()
	client, err := grpc.NewClient(strings.TrimPrefix(target.GRPCURL(), "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	t.Cleanup(func() { cancel(); client.Close() })
	stream, err := ingestpb.NewIngestClient(client).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// Every front feeds the same books and suffers the same faults.
func TestFronts(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		status  int
		want    Truth
	}{
		"correct": {Options{}, 200, Truth{Postbacks: 3, Acked: 3, Rows: 3}},
		"refuse":  {Options{RefuseEvery: 2}, 503, Truth{Postbacks: 3, Acked: 2, Refused: 1, Rows: 2}},
		"hang":    {Options{HangEvery: 2}, 0, Truth{Postbacks: 3, Acked: 2, Hung: 1, Rows: 2}},
		"close":   {Options{CloseEvery: 2, StoreFirst: true}, 0, Truth{Postbacks: 3, Acked: 2, Closed: 1, Rows: 3}},
		"lose":    {Options{LoseEvery: 2}, 200, Truth{Postbacks: 3, Acked: 3, Rows: 2, Lost: []string{"b"}}},
	} {
		for front, send := range fronts(t) {
			t.Run(name+" over "+front, func(t *testing.T) {
				target := start(t, c.options)
				got := []int{send(target, "a"), send(target, "b"), send(target, "c")}
				if !slices.Equal(got, []int{200, c.status, 200}) {
					t.Errorf("status %v", got)
				}
				if got := target.Truth(); !reflect.DeepEqual(got, c.want) {
					t.Errorf("\n got %+v\nwant %+v", got, c.want)
				}
			})
		}
	}
}

// The hash and the kept requests know what came, without a wire to read.
func TestFrontsKeepRequests(t *testing.T) {
	for front, want := range map[string]string{
		"HTTP/2": "POST /pb?click_id=a&offer_id=o&event=sale&payout=2.5&currency=EUR HTTP/2.0\r\nAccept-Encoding: gzip\r\n" +
			"Content-Length: 4\r\nContent-Type: text/plain\r\nUser-Agent: Go-http-client/2.0\r\n\r\nbody",
		"gRPC": "POST /pb?click_id=a&offer_id=o&event=sale&payout=2.5&currency=EUR gRPC\r\n\r\nbody",
	} {
		target := start(t, Options{KeepRequests: 1})
		fronts(t)[front](target, "a")
		if kept := target.Requests(); len(kept) != 1 || kept[0].Raw != want {
			t.Errorf("%s: kept %q, want %q", front, kept, want)
		}
	}
}

// Messages of one stream wait each for itself, not one after the other.
func TestDelayWithinOneStream(t *testing.T) {
	const delay, messages = 50 * time.Millisecond, 40
	target := start(t, Options{Delay: delay})
	stream := dialIngest(t, target, 10*time.Second)
	began := time.Now()
	for seq := range uint64(messages) {
		if err := stream.Send(&ingestpb.Postback{Seq: seq, Target: []byte("/pb?click_id=x")}); err != nil {
			t.Fatal(err)
		}
	}
	for range messages {
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < delay || took >= messages*delay {
		t.Errorf("%d answers took %v, want little more than %v", messages, took, delay)
	}
}

// A message that hangs up takes the others of its stream with it; each is in
// the books.
func TestHangUpEndsTheStream(t *testing.T) {
	target := start(t, Options{Delay: 20 * time.Millisecond, CloseEvery: 3})
	stream := dialIngest(t, target, 10*time.Second)
	for seq := range uint64(3) {
		if err := stream.Send(&ingestpb.Postback{Seq: seq, Target: bytes.Join([][]byte{[]byte("/pb?click_id="), {'a' + byte(seq)}}, nil)}); err != nil {
			t.Fatal(err)
		}
	}
	acks := 0
	for _, err := stream.Recv(); err == nil; _, err = stream.Recv() {
		acks++
	}
	if got := target.Truth(); acks > 2 || got.Closed != 1 || got.Acked != 2 || got.Rows != 2 {
		t.Errorf("%d acks came, %+v", acks, got)
	}
}
