package store

import (
	"fmt"
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
	clock                   *clock
	items                   []int64
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
		ExpiresAt: m.clock.Now().Add(r.TTL), CreatedAt: m.clock.Now(), UpdatedAt: m.clock.Now(),
	})
	return ""
}

// count gives the result that the store must give, with any problem.
func (m *model) count(p place, onHand int64) domain.CountResult {
	delta := onHand - m.onHand[p]
	if delta < 0 && !m.allows(p, -delta) {
		return domain.CountResult{Problem: "refused"}
	}
	m.onHand[p] = onHand
	return domain.CountResult{Delta: delta}
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
	r.UpdatedAt = m.clock.Now()
	if step == domain.Extend {
		r.ExpiresAt = m.clock.Now().Add(ttl)
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
	r.State, r.UpdatedAt = to, m.clock.Now()
}

func TestTheStoreDoesWhatTheModelDoes(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		now := newClock()
		store := db.open(t, Options{Now: now.Now})
		first := int64(1)
		rapid.Check(t, func(t *rapid.T) {
			first += 10 // each check has items of its own
			checkAgainstModel(t, store, &model{
				onHand: map[place]int64{}, held: map[place]int64{}, committed: map[place]int64{}, policy: map[int64]domain.Policy{},
				clock: now, items: []int64{first, first + 1, first + 2},
			})
		})
		wantSound(t, store)
	})
}

func checkAgainstModel(t *rapid.T, store *Store, m *model) {
	books := inventory(store)
	items := rapid.SampledFrom(m.items)
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
			_, err := books.Adjust(t.Context(), domain.Adjustment{ItemID: p.item, Location: p.location, Delta: n, Reason: domain.Received})
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
			_, err := books.Adjust(t.Context(), domain.Adjustment{ItemID: p.item, Location: p.location, Delta: -n, Reason: domain.Damaged})
			want("damage", err, code)
		},
		"count": func(t *rapid.T) {
			p, n := place{items.Draw(t, "item"), locations.Draw(t, "location")}, quantities.Draw(t, "units")
			stocks, err := store.Stock(t.Context(), []int64{p.item})
			if err != nil {
				t.Fatal(err)
			}
			var version int64
			if at := stocks[0].At(p.location); at != nil {
				version = at.Version
			}
			if rapid.Bool().Draw(t, "from an older version") {
				_, err := books.Set(t.Context(), domain.SetStock{ItemID: p.item, Location: p.location, OnHand: n, Version: version + 1})
				want("count", err, fault.VersionMismatch)
				return
			}
			code := fault.Conflict
			if less := m.onHand[p] - n; less <= 0 || m.allows(p, less) {
				code = ""
				m.onHand[p] = n
			}
			_, err = books.Set(t.Context(), domain.SetStock{ItemID: p.item, Location: p.location, OnHand: n, Version: version})
			want("count", err, code)
		},
		"sync": func(t *rapid.T) {
			s := domain.Sync{Name: newID(), Batch: 1}
			var results []domain.CountResult
			for range rapid.IntRange(1, 3).Draw(t, "counts") {
				p, n := place{items.Draw(t, "item"), locations.Draw(t, "location")}, quantities.Draw(t, "units")
				if !slices.ContainsFunc(s.Counts, func(c domain.Count) bool { return c.ItemID == p.item && c.Location == p.location }) {
					s.Counts = append(s.Counts, domain.Count{ItemID: p.item, Location: p.location, OnHand: n})
					results = append(results, m.count(p, n))
				}
			}
			for range 2 {
				got, err := books.Sync(t.Context(), s)
				want("sync", err, "")
				for i, result := range got {
					if result.Delta != results[i].Delta || (result.Problem != "") != (results[i].Problem != "") {
						t.Fatalf("sync: %+v, want %+v", got, results)
					}
				}
			}
		},
		"reserve": func(t *rapid.T) {
			r := domain.Reserve{TTL: time.Duration(quantities.Draw(t, "ttl")) * time.Minute}
			for range rapid.IntRange(1, 3).Draw(t, "lines") {
				line := domain.Line{ItemID: items.Draw(t, "item"), Location: locations.Draw(t, "location"), Quantity: quantities.Draw(t, "units")}
				if !slices.ContainsFunc(r.Lines, func(l domain.Line) bool { return l.ItemID == line.ItemID && l.Location == line.Location }) {
					r.Lines = append(r.Lines, line)
				}
			}
			code := m.reserve(r)
			made, err := books.Reserve(t.Context(), r)
			want("reserve", err, code)
			if code == "" {
				m.reservations[len(m.reservations)-1].ID = made.ID
			}
		},
		"step": func(t *rapid.T) {
			if len(m.reservations) == 0 {
				t.Skip()
			}
			r := rapid.SampledFrom(m.reservations).Draw(t, "reservation")
			step := rapid.SampledFrom([]domain.Step{domain.Commit, domain.Fulfil, domain.Release, domain.Extend}).Draw(t, "step")
			code := m.step(r, step, time.Minute)
			_, err := books.Change(t.Context(), domain.Change{ID: r.ID, Step: step, TTL: time.Minute})
			want(string(step), err, code)
		},
		"time passes": func(t *rapid.T) {
			m.clock.pass(time.Duration(quantities.Draw(t, "minutes")) * time.Minute)
			for _, r := range m.reservations {
				if r.State == domain.Held && !r.ExpiresAt.After(m.clock.Now()) {
					m.leave(r, domain.Expired)
				}
			}
			if err := books.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"": func(t *rapid.T) { m.compare(t, store) },
	})
}

// compare demands that the store is where the model is.
func (m *model) compare(t *rapid.T, store *Store) {
	stocks, err := store.Stock(t.Context(), m.items)
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
	for _, item := range m.items {
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
