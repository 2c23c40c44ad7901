package store

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// stocks answers one unit more each time that it is asked.
type stocks struct {
	mu    sync.Mutex
	units int64
}

func (s *stocks) Available(context.Context, int64) domain.Available {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units++
	return domain.Available{Units: s.units, Known: true}
}

func (s *stocks) BatchAvailable(context.Context, []int64) map[int64]int64 { return nil }

func catalogue(s *Store, now *clock) *domain.Catalogue {
	return &domain.Catalogue{Store: s, Stock: &stocks{}, Now: now.now}
}

func newClock() *clock { return &clock{time.UnixMilli(1_700_000_000_123)} }

// full sets every field.
func full(sku string) domain.Patch {
	status, price := domain.Draft, &domain.Money{Amount: 1999, Currency: "EUR"}
	text, list := "<é> \u2028 \"", []string{"https://example.com/a?b=c&d"}
	return domain.Patch{
		SKU: &sku, Title: &text, Description: &text, Handle: &sku, Options: &[]domain.Option{{Name: "Size", Value: text}},
		Vendor: &text, Type: &text, Tags: &list, Price: &price, Images: &list, Status: &status,
	}
}

func titled(title string) domain.Patch { return domain.Patch{Title: &title} }

func aKeyHasOneEffectAndEqualAnswers(t *testing.T, cfg sqldb.Config) {
	now := newClock()
	s := openAt(t, cfg, 0, now.now)
	items, ctx := catalogue(s, now), t.Context()
	created, err := items.Create(ctx, "k", full("kite"))
	if err != nil {
		t.Fatal(err)
	}
	bare, err := items.Create(ctx, "bare", titled("bare"))
	if err != nil {
		t.Fatal(err)
	}
	updated, err := items.Update(ctx, "k", created.ID, 1, titled("changed")) // keys are of an operation
	if err != nil || updated.Version != 2 || updated.Stock != (domain.Available{Units: 1, Known: true}) {
		t.Fatalf("%+v, %v", updated, err)
	}
	again := func(where string, s *Store) {
		t.Helper()
		now.Time = now.Add(time.Hour)
		items := catalogue(s, now)
		for name, call := range map[string]struct {
			do   func() (domain.Stocked, error)
			want domain.Stocked
		}{
			"create":      {func() (domain.Stocked, error) { return items.Create(ctx, "k", full("kite")) }, created},
			"create bare": {func() (domain.Stocked, error) { return items.Create(ctx, "bare", titled("bare")) }, bare},
			"update":      {func() (domain.Stocked, error) { return items.Update(ctx, "k", created.ID, 1, titled("changed")) }, updated},
		} {
			if got, err := call.do(); err != nil || !reflect.DeepEqual(got, call.want) {
				t.Errorf("%s %s: %+v, %v; want %+v", name, where, got, err, call.want)
			}
		}
	}
	again("in the same process", s)
	if _, err := items.Update(ctx, "", created.ID, 2, titled("changed again")); err != nil {
		t.Fatal(err)
	}
	again("after another change", s)
	if item, err := items.Get(ctx, created.ID); err != nil || item.Version != 3 || item.Title != "changed again" {
		t.Errorf("stored %+v, %v", item, err)
	}
	if s.db.Postgres() != nil {
		again("at another replica", openAt(t, cfg, 0, now.now))
	}
	remove := func(s *Store) {
		t.Helper()
		if err := catalogue(s, now).Delete(ctx, "k", created.ID, 3); err != nil {
			t.Error(err)
		}
	}
	remove(s)
	remove(s)
	again("after the deletion", s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, cfg, 0, now.now)
	again("after a restart", s)
	remove(s)
	if page, err := s.List(ctx, 10, ""); err != nil || titles(page.Items) != "bare" {
		t.Errorf("the catalogue is %+v, %v", page.Items, err)
	}
}

func aKeyWithOtherParametersIsRefused(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	items, ctx := catalogue(s, newClock()), t.Context()
	first := mustCreate(t, s, domain.Fields{Title: "first"}).ID
	second := mustCreate(t, s, domain.Fields{Title: "second"}).ID
	patch := titled("kite")
	nothing, noPrice := []string(nil), (*domain.Money)(nil)
	untagged, unpriced := patch, patch
	untagged.Tags, unpriced.Price = &nothing, &noPrice
	create := func(patch domain.Patch) error { _, err := items.Create(ctx, "k", patch); return err }
	update := func(id, expected int64, patch domain.Patch) error {
		_, err := items.Update(ctx, "k", id, expected, patch)
		return err
	}
	for name, err := range map[string]error{"create": create(patch), "update": update(first, 1, patch)} {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"a creation with another title":   create(titled("other")),
		"a creation with tags of null":    create(untagged),
		"a creation with a price of null": create(unpriced),
		"an update with another title":    update(first, 1, titled("other")),
		"an update of another item":       update(second, 1, patch),
		"an update of another version":    update(first, 2, patch),
		"an update of any version":        update(first, 0, patch),
	} {
		if fault.CodeOf(err) != fault.KeyReused {
			t.Errorf("%s: %v, want key_reused", name, err)
		}
	}
	if err := items.Delete(ctx, "k", first, 2); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"another item": items.Delete(ctx, "k", second, 2), "any version": items.Delete(ctx, "k", first, 0)} {
		if fault.CodeOf(err) != fault.KeyReused {
			t.Errorf("a deletion of %s: %v, want key_reused", name, err)
		}
	}
	if page, err := s.List(ctx, 10, ""); err != nil || titles(page.Items) != "second kite" {
		t.Errorf("the catalogue is %s, %v", titles(page.Items), err)
	}
}

func aRefusedCommandDoesNotBurnItsKey(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	items, ctx := catalogue(s, newClock()), t.Context()
	taken := mustCreate(t, s, domain.Fields{Title: "taken", SKU: "kite"}).ID
	create := func() error { _, err := items.Create(ctx, "k", full("kite")); return err }
	update := func() error { _, err := items.Update(ctx, "k", taken+1, 1, titled("changed")); return err }
	remove := func() error { return items.Delete(ctx, "k", taken+1, 2) }

	for name, want := range map[string]struct {
		err  error
		code fault.Code
	}{"create": {create(), fault.Conflict}, "update": {update(), fault.NotFound}, "delete": {remove(), fault.NotFound}} {
		if fault.CodeOf(want.err) != want.code {
			t.Errorf("%s: %v, want %s", name, want.err, want.code)
		}
	}
	if err := s.Delete(ctx, at(0), taken, 0); err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() error{create, update, remove} {
		if err := do(); err != nil {
			t.Error(err)
		}
	}
}

// Of fifty calls with one key at the same time, spread over the replicas there
// can be, one has an effect and all have its answer.
func equalKeysAtTheSameTimeHaveOneEffect(t *testing.T, cfg sqldb.Config) {
	now := newClock()
	replicas := []*domain.Catalogue{catalogue(open(t, cfg), now)}
	if cfg.Store != "" {
		replicas = append(replicas, catalogue(open(t, cfg), now))
	}
	together := func(do func(items *domain.Catalogue) (domain.Stocked, error)) domain.Stocked {
		t.Helper()
		answers := make([]domain.Stocked, 50)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				var err error
				if answers[i], err = do(replicas[i%len(replicas)]); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, answer := range answers {
			if !reflect.DeepEqual(answer, answers[0]) {
				t.Fatalf("answers %+v and %+v", answers[0], answer)
			}
		}
		return answers[0]
	}
	ctx := t.Context()
	for round := range int64(3) {
		key := fmt.Sprint(round)
		made := together(func(items *domain.Catalogue) (domain.Stocked, error) { return items.Create(ctx, key, full(key)) })
		changed := together(func(items *domain.Catalogue) (domain.Stocked, error) {
			return items.Update(ctx, key, made.ID, 1, titled("changed"))
		})
		if made.ID != round+1 || changed.Version != 2 {
			t.Errorf("round %d made item %d, and of it version %d", round, made.ID, changed.Version)
		}
		together(func(items *domain.Catalogue) (domain.Stocked, error) {
			return domain.Stocked{}, items.Delete(ctx, key, made.ID, 2)
		})
	}
}

func aKeyOlderThanTheRetentionIsForgotten(t *testing.T, cfg sqldb.Config) {
	now := newClock()
	s := openAt(t, cfg, 0, now.now)
	items, ctx := catalogue(s, now), t.Context()
	create := func(key string) int64 {
		t.Helper()
		made, err := items.Create(ctx, key, titled(key))
		if err != nil {
			t.Fatal(err)
		}
		return made.ID
	}
	const many = 300 // more than are forgotten at a time
	for n := range many {
		create(fmt.Sprint("old ", n))
	}
	now.Time = now.Add(time.Millisecond)
	young := create("young")
	forget := func() {
		t.Helper()
		if err := items.Forget(ctx, 24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	now.Time = now.Add(24*time.Hour - time.Millisecond) // exactly as old is not older
	forget()
	if id := create("old 0"); id != 1 {
		t.Errorf("a key as old as the retention made item %d", id)
	}
	now.Time = now.Add(time.Millisecond)
	forget()
	if id := create("young"); id != young {
		t.Errorf("a young key made item %d", id)
	}
	if ids := []int64{create("old 0"), create(fmt.Sprint("old ", many-1))}; !slices.Equal(ids, []int64{many + 2, many + 3}) {
		t.Errorf("forgotten keys made items %d", ids)
	}
	var kept int
	if err := sqldb.QueryRow(ctx, s.db.Read(), `SELECT count(*) FROM commands`).Scan(&kept); err != nil || kept != 3 {
		t.Errorf("%d keys are kept, %v; want 3", kept, err)
	}
}
