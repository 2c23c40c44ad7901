package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

var _ domain.Store = (*Store)(nil)

// clock is moved by hand.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func open(t *testing.T, maxAge time.Duration, now func() time.Time) (*Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "item.db")
	s, err := Open(t.Context(), path, maxAge, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, path
}

func mustCreate(t *testing.T, s *Store, title string) domain.Item {
	t.Helper()
	item, err := s.Create(t.Context(), domain.Fields{Title: title, Status: domain.Active}, time.UnixMilli(0))
	if err != nil {
		t.Fatal(err)
	}
	return item
}

func TestAnAnswerFromMemoryIsNeverOlderThanItsBound(t *testing.T) {
	t.Parallel()
	now := &clock{time.Unix(1_000, 0)}
	s, path := open(t, time.Second, now.now)
	id := mustCreate(t, s, "before").ID
	title := func() string {
		item, err := s.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return item.Title
	}
	title() // from now on it is in memory

	elsewhere, err := sql.Open("sqlite", path) // as another replica would
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	if _, err := elsewhere.Exec(`UPDATE items SET title = 'after'`); err != nil {
		t.Fatal(err)
	}
	now.Time = now.Add(time.Second - 1)
	if got := title(); got != "before" {
		t.Errorf("within the bound the title is %s", got)
	}
	now.Time = now.Add(1)
	if got := title(); got != "after" {
		t.Errorf("at the bound the title is %s", got)
	}
}

func TestAReadThatBeganBeforeAChangeDoesNotBringTheOldBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := newCache(time.Minute, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer c.entries.StopAllGoroutines()
		slow, changed := make(chan struct{}), make(chan struct{})
		go func() {
			_, _ = c.get(t.Context(), 1, func(context.Context, int64) (*domain.Item, error) {
				close(slow)
				<-changed
				return &domain.Item{ID: 1, Version: 1}, nil
			})
		}()
		<-slow
		c.forget(1, 2)
		close(changed)
		synctest.Wait()
		item, err := c.get(t.Context(), 1, func(context.Context, int64) (*domain.Item, error) {
			return &domain.Item{ID: 1, Version: 2}, nil
		})
		if err != nil || item.Version != 2 {
			t.Errorf("version %d, %v", item.Version, err)
		}
	})
}

func TestOfMoreMatchesThanAreRankedTheNewestTakePart(t *testing.T) {
	t.Parallel()
	s, path := open(t, 0, time.Now)
	first := mustCreate(t, s, "hat and coat").ID
	elsewhere, err := sql.Open("sqlite", path) // one statement is faster than as many creations
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	if _, err := elsewhere.Exec(`
		WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
		INSERT INTO items (sku, title, description, handle, options, variant, vendor, type, tags, images, status, version, created_at, updated_at)
		SELECT 'h' || n, 'hat', '', '', '[]', '[]', '', '', '[]', '[]', 'active', 1, 0, 0 FROM numbers`, domain.MaxRanked); err != nil {
		t.Fatal(err)
	}
	capped, err := s.Search(t.Context(), "hat", 1, "")
	if err != nil {
		t.Fatal(err)
	}
	if !capped.Capped || capped.Items[0].ID != first+domain.MaxRanked {
		t.Errorf("of %d matches: capped %t, first %d", domain.MaxRanked+1, capped.Capped, capped.Items[0].ID)
	}
	err = s.db.Read().View(t.Context(), func(view sqldb.Querier) error {
		ids, next, err := searchIDs(t.Context(), view, []string{"hat"}, place{before: math.MaxInt64}, domain.MaxRanked+1)
		if len(ids) != domain.MaxRanked || ids[len(ids)-1] != first+1 || next.before != 0 {
			t.Errorf("%d take part, down to %d", len(ids), ids[len(ids)-1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	exact, err := s.Search(t.Context(), "coat", 1, "")
	if err != nil || exact.Capped || len(exact.Items) != 1 || exact.Items[0].ID != first {
		t.Errorf("a narrow search gives %+v, %v", exact, err)
	}
}

func TestARowOfAnImportThatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	s, _ := open(t, 0, time.Now)
	long, title := "https://example.com/"+string(make([]byte, domain.MaxURL)), "t"
	small, large := "small", "large"
	results, err := s.Import(t.Context(), []domain.ImportRow{
		{Handle: "h", Options: []domain.Option{{Value: "1"}}, Patch: domain.Patch{Title: &title, SKU: &small}},
		{Handle: "h", Options: []domain.Option{{Value: "2"}}, Patch: domain.Patch{SKU: &large}, AddImages: manyImages(domain.MaxImages)},
		// The first variant could take the image, the second has as many as it may.
		{Handle: "h", ImagesOnly: true, AddImages: []string{"https://example.com/one-more.jpg"}},
		{Handle: "h", Options: []domain.Option{{Value: "3"}}, AddImages: []string{long}},
	}, time.UnixMilli(0))
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []domain.Outcome
	for _, result := range results {
		outcomes = append(outcomes, result.Outcome)
	}
	if want := "[created created rejected rejected]"; fmt.Sprint(outcomes) != want {
		t.Errorf("outcomes %v, want %s", outcomes, want)
	}
	page, err := s.List(t.Context(), 10, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != 2 || len(page.Items[0].Images) != 0 || page.Items[0].Version != 1 || page.Items[1].Title != "t" || page.Items[1].Options[0].Name != "Option1" {
		t.Errorf("the catalogue is %+v", page.Items)
	}
}

func manyImages(n int) []string {
	images := make([]string, n)
	for i := range images {
		images[i] = fmt.Sprintf("https://example.com/%d.jpg", i)
	}
	return images
}

func TestAnUpdateThatIsRefusedIsNotStored(t *testing.T) {
	t.Parallel()
	s, _ := open(t, time.Minute, time.Now)
	item := mustCreate(t, s, "before")
	refuse := func(fields domain.Fields) (domain.Fields, error) {
		fields.Title = "after"
		return fields, fault.Invalid("title", "is refused")
	}
	if _, err := s.Update(t.Context(), item.ID, 0, refuse, time.UnixMilli(1)); fault.CodeOf(err) != fault.InvalidArgument {
		t.Errorf("error %v", err)
	}
	if got, err := s.Get(t.Context(), item.ID); err != nil || got.Title != "before" || got.Version != 1 {
		t.Errorf("stored %+v, %v", got, err)
	}
}
