//go:build cluster

package e2e

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sellers sell at the same time, one unit in each reservation.
	sellers = 4
	// received is more than they can sell.
	received = 1_000_000
	// patience is how long a request is repeated that is not answered.
	patience = 2 * time.Minute
)

// sales are reservations of one item. A request without an answer, or with one
// that leaves open what happened, is repeated with its key: so in the end it is
// known what the books must say.
type sales struct {
	shop string
	item int64

	held, committed, fulfilled, released, repeated atomic.Int64
	last                                           atomic.Int64 // Unix milliseconds of the last answer
	longest                                        atomic.Int64 // milliseconds between two answers

	stop chan struct{}
	done sync.WaitGroup
	errs chan error
}

// startSales creates an item, receives it and begins to sell it.
func startSales(shop string) (*sales, error) {
	s := &sales{shop: shop, stop: make(chan struct{}), errs: make(chan error, sellers)}
	var created struct{ ID int64 }
	if err := s.post("/api/v1/items", `{"title":"Sold under load"}`, http.StatusCreated, &created); err != nil {
		return nil, err
	}
	s.item = created.ID
	if err := s.post(fmt.Sprintf("/api/v1/stock/%d/movements", s.item), fmt.Sprintf(`{"delta":%d,"reason":"received"}`, received), http.StatusCreated, nil); err != nil {
		return nil, err
	}
	s.last.Store(time.Now().UnixMilli())
	for range sellers {
		s.done.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-s.stop:
					return
				default:
				}
				if err := s.sell(n); err != nil {
					s.errs <- err
					return
				}
			}
		})
	}
	return s, nil
}

// sell reserves a unit, and of four reservations lets one be, releases one,
// commits one, and commits and fulfils one.
func (s *sales) sell(n int) error {
	var reservation struct{ ID string }
	if err := s.post("/api/v1/reservations", fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":1}],"ttl_seconds":3600}`, s.item), http.StatusCreated, &reservation); err != nil {
		return err
	}
	steps := [][]string{{}, {"release"}, {"commit"}, {"commit", "fulfil"}}[n%4]
	for _, step := range steps {
		if err := s.post("/api/v1/reservations/"+reservation.ID+"/"+step, "", http.StatusOK, nil); err != nil {
			return err
		}
	}
	[]*atomic.Int64{&s.held, &s.released, &s.committed, &s.fulfilled}[n%4].Add(1)
	return nil
}

// post repeats a command with one key until it is known that it was done.
func (s *sales) post(path, body string, want int, out any) error {
	key := rand.Text()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		status, answer, err := postOnce(s.shop+path, key, body)
		switch {
		case err == nil && status == want:
			now := time.Now().UnixMilli()
			if gap := now - s.last.Swap(now); gap > s.longest.Load() && s.item != 0 {
				s.longest.Store(gap)
			}
			if out == nil {
				return nil
			}
			return json.Unmarshal([]byte(answer), out)
		case err == nil && status < http.StatusInternalServerError && status != http.StatusTooManyRequests:
			return fmt.Errorf("POST %s with the key %s was answered %d, want %d: %s", path, key, status, want, answer)
		case time.Now().After(deadline):
			return errors.Join(fmt.Errorf("POST %s with the key %s was repeated for %s: %d %s", path, key, patience, status, answer), err)
		}
		s.repeated.Add(1)
	}
}

func postOnce(url, key, body string) (status int, answer string, err error) {
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	response, err := (&http.Client{Timeout: 15 * time.Second}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// end waits for the sellers and compares the books with what they did.
func (s *sales) end() (string, error) {
	close(s.stop)
	s.done.Wait()
	close(s.errs)
	var failed []error
	for err := range s.errs {
		failed = append(failed, err)
	}
	if err := errors.Join(failed...); err != nil {
		return "", err
	}
	held, committed, fulfilled := s.held.Load(), s.committed.Load(), s.fulfilled.Load()
	if held == 0 || committed == 0 || fulfilled == 0 {
		return "", fmt.Errorf("nothing was sold: %d held, %d committed, %d fulfilled", held, committed, fulfilled)
	}
	type balance struct {
		OnHand    int64 `json:"on_hand"`
		Available int64
		Held      int64
		Committed int64
	}
	want := balance{received - fulfilled, received - fulfilled - held - committed, held, committed}
	var got balance
	if err := s.get(fmt.Sprintf("/api/v1/stock/%d", s.item), &got); err != nil {
		return "", err
	}
	if got != want {
		return "", fmt.Errorf("the balance is %+v, want %+v; %d requests were repeated", got, want, s.repeated.Load())
	}
	sum, sold, err := s.ledger()
	if err == nil && (sum != want.OnHand || sold != fulfilled) {
		err = fmt.Errorf("the ledger has %d sales and the sum %d, want %d and %d", sold, sum, fulfilled, want.OnHand)
	}
	return fmt.Sprintf("%d held, %d committed, %d fulfilled, %d released, as the balance and the ledger say; %d requests repeated, %.1f s without an answer at the longest",
		held, committed, fulfilled, s.released.Load(), s.repeated.Load(), float64(s.longest.Load())/1000), err
}

// ledger is the sum of all movements, and how many of them are sales.
func (s *sales) ledger() (sum, sold int64, err error) {
	for cursor := ""; ; {
		var page struct {
			Items []struct {
				Delta  int64
				Reason string
			}
			NextCursor string `json:"next_cursor"`
		}
		if err := s.get(fmt.Sprintf("/api/v1/stock/%d/movements?limit=100%s", s.item, cursor), &page); err != nil {
			return 0, 0, err
		}
		for _, movement := range page.Items {
			sum += movement.Delta
			if movement.Reason == "sold" {
				sold++
			}
		}
		if page.NextCursor == "" {
			return sum, sold, nil
		}
		cursor = "&cursor=" + page.NextCursor
	}
}

func (s *sales) get(path string, out any) error {
	status, body, err := send("GET", s.shop+path, "", "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("GET %s was answered %d %s", path, status, body)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(body), out)
}
