package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// items share the reservations, so that they do not all wait for one row.
	items = 20
	// received is more of each item than can be reserved.
	received = 1_000_000
	// firstOutcomes is how many failures and refusals the summary shows.
	firstOutcomes = 10
	// patience is how long the shop may take, at the end, to tell what became of a reservation.
	patience = 2 * time.Minute
)

// load is clients that ask, and what they were answered.
type load struct {
	shop     shop
	clients  int
	itemIDs  []int64
	requests atomic.Int64

	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	took    []time.Duration
	failed  []string
	refused []string
	unknown int
	held    map[int64]int64 // acknowledged, by item
	open    []reservation   // it is not known what became of them
}

// reservation is a request for one unit, which has the same effect however often it is sent.
type reservation struct {
	key  string
	item int64
}

func newLoad(gateway string, clients int) *load {
	return &load{shop: newShop(gateway, clients), clients: clients, held: map[int64]int64{}}
}

// stockUp creates the items.
func (l *load) stockUp(ctx context.Context) error {
	for range items {
		var created struct{ ID int64 }
		if err := l.shop.post(ctx, "/api/v1/items", "", map[string]any{"title": title}, &created); err != nil {
			return err
		}
		movement := map[string]any{"delta": received, "reason": "received"}
		if err := l.shop.post(ctx, fmt.Sprintf("/api/v1/stock/%d/movements", created.ID), "", movement, nil); err != nil {
			return err
		}
		l.itemIDs = append(l.itemIDs, created.ID)
	}
	return nil
}

// start lets each client ask once in every pause.
func (l *load) start(pause time.Duration) {
	ctx, stop := context.WithCancel(context.Background()) // until end
	l.stop = stop
	for client := range l.clients {
		l.done.Go(func() {
			time.Sleep(pause * time.Duration(client) / time.Duration(l.clients)) // not all at once
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for n := client; ; n++ {
				l.ask(context.WithoutCancel(ctx), n)
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
}

// ask reserves a unit, or reads an item, its stock, or what is looked at.
func (l *load) ask(ctx context.Context, n int) {
	id := l.itemIDs[n/8%items]
	begun := time.Now()
	var err error
	switch n % 8 {
	case 0, 4:
		r := reservation{key: rand.Text(), item: id}
		err = l.shop.reserve(ctx, r)
		l.book(r, err)
	case 1, 5:
		err = l.shop.readStock(ctx, id)
	case 2:
		err = l.shop.readTrending(ctx)
	default:
		err = l.shop.readItem(ctx, id)
	}
	l.note(begun, err)
}

func (l *load) book(r reservation, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.held[r.item]++
	} else {
		l.open = append(l.open, r)
	}
}

func (l *load) note(begun time.Time, err error) {
	took := time.Since(begun)
	l.requests.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, took)
	if err == nil {
		return
	}
	if errors.Is(err, errStockUnknown) {
		l.unknown++
		return
	}
	line := fmt.Sprintf("%s after %.3f s: %v", time.Now().UTC().Format("15:04:05.000"), took.Seconds(), err)
	if errors.As(err, new(refusal)) {
		l.refused = append(l.refused, line)
	} else {
		l.failed = append(l.failed, line)
	}
}

// summary is what end answers.
type summary struct {
	Requests int `json:"requests"`
	// Failed had no answer on the first try, a wrong one, or a 5xx that does not say when to ask again.
	Failed int `json:"failed"`
	// Refused were answered 503 with Retry-After.
	Refused int `json:"refused"`
	// Unknown are items that were answered without their stock.
	Unknown int      `json:"unknown"`
	P50     float64  `json:"p50_ms"`
	P99     float64  `json:"p99_ms"`
	Longest float64  `json:"longest_ms"`
	Held    int64    `json:"held"` // reservations that were acknowledged
	Ledger  string   `json:"ledger"`
	First   []string `json:"first,omitempty"`
}

func (l *load) end(ctx context.Context) summary {
	l.stop()
	l.done.Wait()
	slices.Sort(l.took)
	at := func(share float64) float64 {
		return float64(l.took[int(share*float64(len(l.took)-1))].Microseconds()) / 1000
	}
	first := append(firsts(l.failed), firsts(l.refused)...)
	s := summary{
		Requests: len(l.took), Failed: len(l.failed), Refused: len(l.refused), Unknown: l.unknown,
		P50: at(0.5), P99: at(0.99), Longest: at(1), First: first,
	}
	s.Ledger = "exact"
	if err := l.audit(ctx); err != nil {
		s.Ledger = err.Error()
	}
	for _, held := range l.held {
		s.Held += held
	}
	return s
}

func firsts(lines []string) []string { return lines[:min(firstOutcomes, len(lines))] }

// audit sends again, with their keys, the reservations of which nothing is known,
// and then compares each balance and ledger with what was acknowledged.
func (l *load) audit(ctx context.Context) error {
	deadline := time.Now().Add(patience)
	for _, r := range l.open {
		for err := l.shop.reserve(ctx, r); err != nil; err = l.shop.reserve(ctx, r) {
			if time.Now().After(deadline) {
				return fmt.Errorf("what became of the reservation with the key %s is not told: %w", r.key, err)
			}
			time.Sleep(time.Second)
		}
		l.held[r.item]++
	}
	l.open = nil
	for _, id := range l.itemIDs {
		if err := l.shop.compare(ctx, id, l.held[id]); err != nil {
			return err
		}
	}
	return nil
}
