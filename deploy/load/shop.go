package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"
)

// title is that of every item.
const title = "Reserved under load"

// shop is the gateway, asked over connections that stay open.
type shop struct {
	url    string
	client *http.Client
}

func newShop(url string, connections int) shop {
	return shop{url, &http.Client{
		Timeout:   15 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: connections},
	}}
}

// errStockUnknown is no failure: item says so when stock takes too long.
var errStockUnknown = errors.New("the item was answered without its stock")

// refusal is an answer that says when to ask again.
type refusal struct{ answer string }

func (r refusal) Error() string { return r.answer }

func (s shop) readItem(ctx context.Context, id int64) error {
	var item struct {
		ID    int64
		Title string
		Stock *int64 // nil: unknown
	}
	if err := s.get(ctx, fmt.Sprintf("/api/v1/items/%d", id), &item); err != nil {
		return err
	}
	if item.ID != id || item.Title != title {
		return fmt.Errorf("item %d was answered as %+v", id, item)
	}
	if item.Stock == nil {
		return errStockUnknown
	}
	return nil
}

// balance is the stock of an item.
type balance struct {
	OnHand    int64 `json:"on_hand"`
	Available int64
	Held      int64
	Committed int64
}

func (s shop) readStock(ctx context.Context, id int64) error {
	var stock balance
	if err := s.get(ctx, fmt.Sprintf("/api/v1/stock/%d", id), &stock); err != nil {
		return err
	}
	if stock.OnHand != received || stock.Available+stock.Held != received {
		return fmt.Errorf("the stock of item %d was answered as %+v", id, stock)
	}
	return nil
}

// readTrending asks activity, which knows nothing of before its last start.
func (s shop) readTrending(ctx context.Context) error {
	var trending struct{ Items []json.RawMessage }
	return s.get(ctx, "/api/v1/trending", &trending)
}

func (s shop) reserve(ctx context.Context, r reservation) error {
	var held struct{ ID, State string }
	body := map[string]any{"lines": []map[string]any{{"item_id": r.item, "quantity": 1}}, "ttl_seconds": 86400}
	if err := s.post(ctx, "/api/v1/reservations", r.key, body, &held); err != nil {
		return err
	}
	if held.ID == "" || held.State != "HELD" {
		return fmt.Errorf("the reservation with the key %s was answered as %+v", r.key, held)
	}
	return nil
}

// compare demands that held units of an item are reserved, each once, and none has gone.
func (s shop) compare(ctx context.Context, id, held int64) error {
	var got balance
	if err := s.get(ctx, fmt.Sprintf("/api/v1/stock/%d", id), &got); err != nil {
		return err
	}
	if want := (balance{OnHand: received, Available: received - held, Held: held}); got != want {
		return fmt.Errorf("the balance of item %d is %+v, want %+v", id, got, want)
	}
	var ledger struct{ Items []struct{ Delta int64 } }
	if err := s.get(ctx, fmt.Sprintf("/api/v1/stock/%d/movements", id), &ledger); err != nil {
		return err
	}
	if len(ledger.Items) != 1 || ledger.Items[0].Delta != received {
		return fmt.Errorf("the ledger of item %d is %+v, want %d received", id, ledger.Items, received)
	}
	return nil
}

// post sends body with a key; "": the gateway makes one.
func (s shop) post(ctx context.Context, path, key string, body, out any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return s.send(ctx, http.MethodPost, path, key, content, http.StatusCreated, out)
}

func (s shop) get(ctx context.Context, path string, out any) error {
	return s.send(ctx, http.MethodGet, path, "", nil, http.StatusOK, out)
}

// send sends a request once. Go's client by itself repeats what breaks on a
// connection that was open before: that is an error here.
func (s shop) send(ctx context.Context, method, path, key string, body []byte, want int, out any) error {
	tries := 0
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { tries++ }})
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
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
	text := fmt.Sprintf("%s %s was answered %s: %s", method, path, response.Status, answer)
	switch {
	case response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "":
		return refusal{text}
	case response.StatusCode != want:
		return fmt.Errorf("%s", text)
	case tries != 1:
		return fmt.Errorf("%s %s took %d tries: the connection broke", method, path, tries)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	return nil
}
