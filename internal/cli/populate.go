package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/intent"
)

const (
	maxErrorText = 300
	// populateTimeout bounds the load of each part, so that a server that hangs
	// does not hang the run.
	populateTimeout = 5 * time.Minute
)

// populate tells a server the offers, keys and clicks of a run.
func populate(ctx context.Context, client *http.Client, base string, generator *intent.Generator, n uint64) error {
	parts := []struct {
		name  string
		write func(io.Writer) error
	}{
		{"offers", generator.WriteOffers},
		{"keys", generator.WriteKeys},
		{"clicks", func(w io.Writer) error { return generator.WriteClicks(w, n) }},
	}
	for _, part := range parts {
		if err := post(ctx, client, strings.TrimSuffix(base, "/")+"/"+part.name, part.write); err != nil {
			return fmt.Errorf("load the population: %w", err)
		}
	}
	return nil
}

// post streams what write gives; nothing is held in memory.
func post(ctx context.Context, client *http.Client, url string, write func(io.Writer) error) error {
	ctx, cancel := context.WithTimeout(ctx, populateTimeout)
	defer cancel()
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(write(writer)) }()
	defer reader.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, reader)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "text/csv")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorText))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s: %s", url, response.Status, strings.Join(strings.Fields(string(text)), " "))
	}
	return nil
}
