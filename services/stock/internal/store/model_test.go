package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// model is what stock must do, in the simplest words: numbers in maps.
type model struct {
	onHand, held, committed map[place]int64
	policy                  map[int64]domain.Policy
	reservations            []*domain.Reservation
	now                     time.Time
}

type place struct {
	item     int64
	location string
}

func (m *model) available(p place) int64 { return m.onHand[p] - m.held[p] - m.committed[p] }

func (m *model) allows(p place, quantity int64) bool {
	return m.policy[p.item] == domain.Backorder || m.available(p) >= quantity
}

// reserve gives the error that the store must give.
func (m *model) reserve(r domain.Reserve) fault.Code {
	for _, line := range r.Lines {
		if !m.allows(place{line.ItemID, line.Location}, line.Quantity) {
			return fault.SoldOut
		}
	}
	for _, line := range r.Lines {
		m.held[place{line.ItemID, line.Location}] += line.Quantity
	}
	m.reservations = append(m.reservations, &domain.Reservation{
		ID: r.ID, State: domain.Held, Lines: r.Lines, Reference: r.Reference,
		ExpiresAt: m.now.Add(r.TTL), CreatedAt: m.now, UpdatedAt: m.now,
	})
	return ""
}

// step gives the error that the store must give.
func (m *model) step(r *domain.Reservation, step domain.Step, ttl time.Duration) fault.Code {
	wanted := map[domain.Step]domain.State{domain.Commit: domain.Held, domain.Release: domain.Held, domain.Extend: domain.Held, domain.Fulfil: domain.Committed}
	reached := map[domain.Step]domain.State{domain.Commit: domain.Committed, domain.Release: domain.Released, domain.Fulfil: domain.Fulfilled}
	if r.State == reached[step] {
		return ""
	}
	if r.State != wanted[step] {
		return fault.WrongState
	}
	r.UpdatedAt = m.now
	if step == domain.Extend {
		r.ExpiresAt = m.now.Add(ttl)
		return ""
	}
	m.leave(r, reached[step])
	return ""
}

// leave moves the units of a reservation with its state.
func (m *model) leave(r *domain.Reservation, to domain.State) {
	for _, line := range r.Lines {
		p := place{line.ItemID, line.Location}
		switch r.State {
		case domain.Held:
			m.held[p] -= line.Quantity
		case domain.Committed:
			m.committed[p] -= line.Quantity
		default: // it holds nothing any more
		}
		switch to {
		case domain.Committed:
			m.committed[p] += line.Quantity
		case domain.Fulfilled:
			m.onHand[p] -= line.Quantity
		default: // they are available again
		}
	}
	r.State, r.UpdatedAt = to, m.now
}

func TestTheStoreDoesWhatTheModelDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		store, err := Open(t.Context(), filepath.Join(tempDir(t), "stock.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}()
		m := &model{
			onHand: map[place]int64{}, held: map[place]int64{}, committed: map[place]int64{}, policy: map[int64]domain.Policy{},
			now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		}
		items := rapid.Int64Range(1, 3)
		locations := rapid.SampledFrom([]string{"main", "shelf"})
		quantities := rapid.Int64Range(1, 9)
		want := func(what string, err error, code fault.Code) {
			if fault.CodeOf(err) != code {
				t.Fatalf("%s: %v, want %q", what, err, code)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"receive": func(t *rapid.T) {
				p, n := place{items.Draw(t, "item"), locations.Draw(t, "location")}, quantities.Draw(t, "units")
				_, err := store.Adjust(t.Context(), domain.Adjustment{ItemID: p.item, Location: p.location, Delta: n, Reason: domain.Received}, m.now)
				m.onHand[p] += n
				want("receive", err, "")
			},
			"damage": func(t *rapid.T) {
				p, n := place{items.Draw(t, "item"), locations.Draw(t, "location")}, quantities.Draw(t, "units")
				code := fault.Conflict
				if m.allows(p, n) {
					code = ""
					m.onHand[p] -= n
				}
				_, err := store.Adjust(t.Context(), domain.Adjustment{ItemID: p.item, Location: p.location, Delta: -n, Reason: domain.Damaged}, m.now)
				want("damage", err, code)
			},
			"reserve": func(t *rapid.T) {
				r := domain.Reserve{ID: fmt.Sprintf("%036d", len(m.reservations)), TTL: time.Duration(quantities.Draw(t, "ttl")) * time.Minute}
				for range rapid.IntRange(1, 3).Draw(t, "lines") {
					line := domain.Line{ItemID: items.Draw(t, "item"), Location: locations.Draw(t, "location"), Quantity: quantities.Draw(t, "units")}
					if !slices.ContainsFunc(r.Lines, func(l domain.Line) bool { return l.ItemID == line.ItemID && l.Location == line.Location }) {
						r.Lines = append(r.Lines, line)
					}
				}
				code := m.reserve(r)
				_, err := store.Reserve(t.Context(), r, m.now)
				want("reserve", err, code)
			},
			"step": func(t *rapid.T) {
				if len(m.reservations) == 0 {
					t.Skip()
				}
				r := rapid.SampledFrom(m.reservations).Draw(t, "reservation")
				step := rapid.SampledFrom([]domain.Step{domain.Commit, domain.Fulfil, domain.Release, domain.Extend}).Draw(t, "step")
				code := m.step(r, step, time.Minute)
				_, err := store.Change(t.Context(), domain.Change{ID: r.ID, Step: step, TTL: time.Minute}, m.now)
				want(string(step), err, code)
			},
			"time passes": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(quantities.Draw(t, "minutes")) * time.Minute)
				due := 0
				for _, r := range m.reservations {
					if r.State == domain.Held && !r.ExpiresAt.After(m.now) {
						m.leave(r, domain.Expired)
						due++
					}
				}
				expired, err := store.Expire(t.Context(), 100, m.now)
				if err != nil || expired != due {
					t.Fatalf("%d expired, %v; want %d", expired, err, due)
				}
			},
			"": func(t *rapid.T) { m.compare(t, store) },
		})
	})
}

// compare demands that the store is where the model is.
func (m *model) compare(t *rapid.T, store *Store) {
	stocks, err := store.Stock(t.Context(), []int64{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stocks {
		for _, l := range s.Locations {
			p := place{s.ItemID, l.Name}
			if l.OnHand != m.onHand[p] || l.Available != m.available(p) || l.Held != m.held[p] || l.Committed != m.committed[p] {
				t.Fatalf("item %d at %s has %+v; want %d on hand, %d held, %d committed", s.ItemID, l.Name, l.Balance, m.onHand[p], m.held[p], m.committed[p])
			}
		}
	}
	for _, item := range []int64{1, 2, 3} {
		ledger, _, err := store.Movements(t.Context(), item, 1000, "")
		if err != nil {
			t.Fatal(err)
		}
		sums := map[place]int64{}
		for _, movement := range ledger {
			sums[place{item, movement.Location}] += movement.Delta
		}
		for _, location := range []string{"main", "shelf"} {
			if p := (place{item, location}); sums[p] != m.onHand[p] {
				t.Fatalf("the ledger of item %d at %s adds up to %d, want %d", item, location, sums[p], m.onHand[p])
			}
		}
	}
	for _, want := range m.reservations {
		got, err := store.Reservation(t.Context(), want.ID)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(*want) {
			t.Fatalf("reservation %+v, %v; want %+v", got, err, *want)
		}
	}
}

// tempDir is a directory that goes with the check.
func tempDir(t *rapid.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
