// Command smoke is the test of an installed shop, which `helm test` runs: it
// creates an item, receives stock, sells some of it by a reservation, reads the
// item and the ledger back, and deletes the item.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// received is how many units the test receives, and sold how many of them it sells.
const received, sold = 7, 2

func main() {
	gateway := flag.String("gateway", "http://127.0.0.1:8889", "`URL` of the shop")
	authority := flag.String("ca", "", "`file` of certificates, in PEM, that vouch for the shop's; empty: the system's")
	within := flag.Duration("within", time.Minute, "longest `time` that the test may take")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *within)
	err := run(ctx, *gateway, os.Getenv("KITESHOP_KEY"), *authority)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, gateway, key, authority string) error {
	s := shop{url: gateway, client: http.DefaultClient, key: key}
	if authority != "" {
		text, err := os.ReadFile(authority)
		if err != nil {
			return err
		}
		trusted := x509.NewCertPool()
		if !trusted.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s has no certificate in PEM", authority)
		}
		s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}}
	}
	return s.test(ctx)
}

// shop is where the test calls, and as whom.
type shop struct {
	url    string
	client *http.Client
	key    string // with the scope admin; "": it takes none
}

type item struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
	Stock *int64 `json:"stock"` // nil: unknown
}

func (s shop) test(ctx context.Context) error {
	title := "Smoke test of " + time.Now().UTC().Format(time.RFC3339Nano)
	var created item
	if err := s.call(ctx, http.MethodPost, "/api/v1/items", map[string]any{"title": title}, http.StatusCreated, &created); err != nil {
		return err
	}
	fmt.Printf("created item %d\n", created.ID)

	movement := map[string]any{"delta": received, "reason": "received", "reference": "smoke"}
	if err := s.call(ctx, http.MethodPost, fmt.Sprintf("/api/v1/stock/%d/movements", created.ID), movement, http.StatusCreated, nil); err != nil {
		return err
	}
	fmt.Printf("received %d units\n", received)

	if err := s.sell(ctx, created.ID); err != nil {
		return err
	}
	fmt.Printf("reserved, committed and fulfilled %d units\n", sold)

	target := fmt.Sprintf("/api/v1/items/%d", created.ID)
	if err := s.readBack(ctx, target, title); err != nil {
		return err
	}
	if err := s.checkLedger(ctx, fmt.Sprintf("/api/v1/stock/%d/movements", created.ID)); err != nil {
		return err
	}
	fmt.Println("read the item and the ledger back")

	if err := s.call(ctx, http.MethodDelete, target, nil, http.StatusNoContent, nil); err != nil {
		return err
	}
	fmt.Println("deleted the item")
	return nil
}

// sell takes a reservation through all its steps.
func (s shop) sell(ctx context.Context, itemID int64) error {
	var reservation struct {
		ID    string `json:"id"`
		State string `json:"state"`
	}
	lines := map[string]any{"lines": []map[string]any{{"item_id": itemID, "quantity": sold}}, "reference": "smoke"}
	if err := s.call(ctx, http.MethodPost, "/api/v1/reservations", lines, http.StatusCreated, &reservation); err != nil {
		return err
	}
	for _, step := range []string{"commit", "fulfil"} {
		if err := s.call(ctx, http.MethodPost, "/api/v1/reservations/"+reservation.ID+"/"+step, nil, http.StatusOK, &reservation); err != nil {
			return err
		}
	}
	if reservation.State != "FULFILLED" {
		return fmt.Errorf("reservation %s is %s after it was fulfilled", reservation.ID, reservation.State)
	}
	return nil
}

func (s shop) checkLedger(ctx context.Context, path string) error {
	var ledger struct {
		Items []struct {
			Delta  int64  `json:"delta"`
			Reason string `json:"reason"`
		} `json:"items"`
	}
	if err := s.call(ctx, http.MethodGet, path, nil, http.StatusOK, &ledger); err != nil {
		return err
	}
	if got, want := fmt.Sprint(ledger.Items), fmt.Sprintf("[{%d sold} {%d received}]", -sold, received); got != want {
		return fmt.Errorf("%s is %s, want %s", path, got, want)
	}
	return nil
}

// readBack asks until the item has its stock: answers may be from memory and up to 1 s old.
func (s shop) readBack(ctx context.Context, target, title string) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		var got item
		if err := s.call(ctx, http.MethodGet, target, nil, http.StatusOK, &got); err != nil {
			return err
		}
		if got.Title != title {
			return fmt.Errorf("%s has the title %q, and was created as %q", target, got.Title, title)
		}
		if got.Stock != nil && *got.Stock == received-sold {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			last, _ := json.Marshal(got)
			return fmt.Errorf("%s should have %d units and is still answered as %s", target, received-sold, last)
		}
	}
}

// call sends body as JSON and reads the answer into out, if that is not nil.
func (s shop) call(ctx context.Context, method, path string, body any, want int, out any) error {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, &content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if s.key != "" {
		request.Header.Set("Authorization", "Bearer "+s.key)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode != want {
		return fmt.Errorf("%s %s was answered %s, want %d: %s", method, path, response.Status, want, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s was answered %s: %w", method, path, answer, err)
	}
	return nil
}
