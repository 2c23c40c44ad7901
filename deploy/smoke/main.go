// Command smoke is the test of an installed shop, which `helm test` runs: it
// creates an item, receives stock, sells some of it by a reservation, reads the
// item and the ledger back, and deletes the item.
package main

import (
	"bytes"
	"context"
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
	within := flag.Duration("within", time.Minute, "longest `time` that the test may take")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *within)
	err := test(ctx, *gateway)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
}

type item struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
	Stock *int64 `json:"stock"` // nil: unknown
}

func test(ctx context.Context, gateway string) error {
	title := "Smoke test of " + time.Now().UTC().Format(time.RFC3339Nano)
	var created item
	if err := call(ctx, http.MethodPost, gateway+"/api/v1/items", map[string]any{"title": title}, http.StatusCreated, &created); err != nil {
		return err
	}
	fmt.Printf("created item %d\n", created.ID)

	movement := map[string]any{"delta": received, "reason": "received", "reference": "smoke"}
	if err := call(ctx, http.MethodPost, fmt.Sprintf("%s/api/v1/stock/%d/movements", gateway, created.ID), movement, http.StatusCreated, nil); err != nil {
		return err
	}
	fmt.Printf("received %d units\n", received)

	if err := sell(ctx, gateway, created.ID); err != nil {
		return err
	}
	fmt.Printf("reserved, committed and fulfilled %d units\n", sold)

	target := fmt.Sprintf("%s/api/v1/items/%d", gateway, created.ID)
	if err := readBack(ctx, target, title); err != nil {
		return err
	}
	if err := checkLedger(ctx, fmt.Sprintf("%s/api/v1/stock/%d/movements", gateway, created.ID)); err != nil {
		return err
	}
	fmt.Println("read the item and the ledger back")

	if err := call(ctx, http.MethodDelete, target, nil, http.StatusNoContent, nil); err != nil {
		return err
	}
	fmt.Println("deleted the item")
	return nil
}

// sell takes a reservation through all its steps.
func sell(ctx context.Context, gateway string, itemID int64) error {
	var reservation struct {
		ID    string `json:"id"`
		State string `json:"state"`
	}
	lines := map[string]any{"lines": []map[string]any{{"item_id": itemID, "quantity": sold}}, "reference": "smoke"}
	if err := call(ctx, http.MethodPost, gateway+"/api/v1/reservations", lines, http.StatusCreated, &reservation); err != nil {
		return err
	}
	for _, step := range []string{"commit", "fulfil"} {
		if err := call(ctx, http.MethodPost, gateway+"/api/v1/reservations/"+reservation.ID+"/"+step, nil, http.StatusOK, &reservation); err != nil {
			return err
		}
	}
	if reservation.State != "FULFILLED" {
		return fmt.Errorf("reservation %s is %s after it was fulfilled", reservation.ID, reservation.State)
	}
	return nil
}

func checkLedger(ctx context.Context, url string) error {
	var ledger struct {
		Items []struct {
			Delta  int64  `json:"delta"`
			Reason string `json:"reason"`
		} `json:"items"`
	}
	if err := call(ctx, http.MethodGet, url, nil, http.StatusOK, &ledger); err != nil {
		return err
	}
	if got, want := fmt.Sprint(ledger.Items), fmt.Sprintf("[{%d sold} {%d received}]", -sold, received); got != want {
		return fmt.Errorf("%s is %s, want %s", url, got, want)
	}
	return nil
}

// readBack asks until the item has its stock: answers may be from memory and up to 1 s old.
func readBack(ctx context.Context, target, title string) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		var got item
		if err := call(ctx, http.MethodGet, target, nil, http.StatusOK, &got); err != nil {
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
func call(ctx context.Context, method, url string, body any, want int, out any) error {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, url, &content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if response.StatusCode != want {
		return fmt.Errorf("%s %s was answered %s, want %d: %s", method, url, response.Status, want, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s was answered %s: %w", method, url, answer, err)
	}
	return nil
}
