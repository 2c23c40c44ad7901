package store

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
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

func anAnswerFromMemoryIsNeverOlderThanItsBound(t *testing.T, cfg sqldb.Config) {
	now := &clock{time.Unix(1_000, 0)}
	s := openAt(t, cfg, time.Second, now.now)
	id := mustCreate(t, s, domain.Fields{Title: "before"}).ID
	title := func() string {
		item, err := s.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return item.Title
	}
	title() // from now on it is in memory

	executeElsewhere(t, s, cfg, `UPDATE items SET title = 'after'`) // as another replica would
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

func ofMoreMatchesThanAreRankedTheNewestTakePart(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	first := mustCreate(t, s, domain.Fields{Title: "hat and coat"}).ID
	// One statement is faster than as many creations.
	executeElsewhere(t, s, cfg, `
		WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)
		INSERT INTO items (id, sku, title, description, handle, options, variant, vendor, type, tags, images, status, version, created_at, updated_at)
		SELECT n + 1, 'h' || n, 'hat', '', '', '[]', '[]', '', '', '[]', '[]', 'active', 1, 0, 0 FROM numbers`)
	if s.db.Postgres() != nil {
		executeElsewhere(t, s, cfg, `INSERT INTO words SELECT id, 'hat:1', 'hat:1', 'hat:1' FROM items ON CONFLICT DO NOTHING`)
	}
	capped, err := s.Search(t.Context(), "hat", 1, "")
	if err != nil {
		t.Fatal(err)
	}
	if !capped.Capped || capped.Items[0].ID != first+domain.MaxRanked {
		t.Errorf("of %d matches: capped %t, first %d", domain.MaxRanked+1, capped.Capped, capped.Items[0].ID)
	}
	err = s.db.Read().View(t.Context(), func(view sqldb.Querier) error {
		ids, next, err := s.searchIDs(t.Context(), view, []string{"hat"}, place{before: math.MaxInt64}, domain.MaxRanked+1)
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

func aRowOfAnImportThatIsRefusedChangesNothing(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
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

func anUpdateThatIsRefusedIsNotStored(t *testing.T, cfg sqldb.Config) {
	s := openAt(t, cfg, time.Minute, time.Now)
	item := mustCreate(t, s, domain.Fields{Title: "before"})
	refuse := func(fields domain.Fields) (domain.Fields, error) {
		fields.Title = "after"
		return fields, fault.Invalid("title", "is refused")
	}
	if _, err := s.Update(t.Context(), at(1), item.ID, 0, refuse); fault.CodeOf(err) != fault.InvalidArgument {
		t.Errorf("error %v", err)
	}
	if got, err := s.Get(t.Context(), item.ID); err != nil || got.Title != "before" || got.Version != 1 {
		t.Errorf("stored %+v, %v", got, err)
	}
}

func aChangeMadeHereIsSeenAtOnce(t *testing.T, cfg sqldb.Config) {
	now := &clock{time.Unix(1_000, 0)}
	s := openAt(t, cfg, time.Second, now.now)
	id := mustCreate(t, s, domain.Fields{Title: "0"}).ID
	for n := range 3 {
		if item, err := s.Get(t.Context(), id); err != nil || item.Title != fmt.Sprint(n) {
			t.Errorf("after %d changes: %+v, %v", n, item, err)
		}
		if _, err := s.Update(t.Context(), at(1), id, 0, retitle(fmt.Sprint(n+1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), at(0), id, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), id); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("after the deletion: %v", err)
	}
}

func anIDIsNotUsedTwice(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	for want := range int64(3) {
		item := mustCreate(t, s, domain.Fields{Title: "kite"})
		if item.ID != want+1 {
			t.Errorf("id %d, want %d", item.ID, want+1)
		}
		if err := s.Delete(t.Context(), at(0), item.ID, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(t.Context(), at(0), domain.Fields{Title: "refused", Status: "strange"}); err == nil {
			t.Error("a strange status is stored")
		}
	}
}

func anItemComesBackAsItWasStored(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	fields := domain.Fields{
		SKU: "a'b\"c\\d?$1", Title: "Zwölf Boxkämpfer 🥊 ?", Description: strings.Repeat("é", domain.MaxDescription), Handle: "boxer",
		Options: []domain.Option{{Name: "Size", Value: "<M>"}, {Name: "Color", Value: "blå"}}, Vendor: "v", Type: "t", Tags: []string{"a", `"b"`, "c\n"},
		Price: &domain.Money{Amount: domain.MaxAmount, Currency: "EUR"}, Images: []string{"https://example.com/a?b=c"}, Status: domain.Draft,
	}
	created, err := s.Create(t.Context(), at(1_700_000_000_123), fields)
	if err != nil {
		t.Fatal(err)
	}
	item, err := s.Get(t.Context(), created.ID)
	if err != nil || !reflect.DeepEqual(item, created.Item) || !item.Equal(fields) {
		t.Errorf("created %+v, read %+v, %v", created, item, err)
	}
	bare := mustCreate(t, s, domain.Fields{Title: "bare"})
	if item, err := s.Get(t.Context(), bare.ID); err != nil || !reflect.DeepEqual(*item, bare) {
		t.Errorf("created %+v, read %+v, %v", bare, item, err)
	}
}

func aBatchComesInTheOrderAskedFor(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	for _, title := range []string{"1", "2", "3"} {
		mustCreate(t, s, domain.Fields{Title: title})
	}
	items, err := s.BatchGet(t.Context(), []int64{3, 99, 1, 2})
	if got := titles(items); err != nil || got != "3 1 2" {
		t.Errorf("items %s, %v", got, err)
	}
	if items, err := s.BatchGet(t.Context(), nil); err != nil || len(items) != 0 {
		t.Errorf("of no ids: %v, %v", items, err)
	}
}

func titles(items []domain.Item) string {
	var all []string
	for _, item := range items {
		all = append(all, item.Title)
	}
	return strings.Join(all, " ")
}

func aSKUAndAVariantAreTakenOnce(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	random := rand.New(rand.NewPCG(1, 2))
	long := func(n int) string { // what does not shrink
		text := make([]rune, n)
		for i := range text {
			text[i] = 0x4e00 + rune(random.IntN(20_000))
		}
		return string(text)
	}
	fields := domain.Fields{Title: "first", SKU: long(domain.MaxSKU), Handle: long(domain.MaxName), Status: domain.Active}
	for n := range domain.MaxOptions {
		fields.Options = append(fields.Options, domain.Option{Name: fmt.Sprint("o", n), Value: long(domain.MaxName)})
	}
	if _, err := s.Create(t.Context(), at(0), fields); err != nil {
		t.Fatal(err)
	}
	other := fields
	other.SKU = "other"
	for name, fields := range map[string]domain.Fields{"the SKU": {Title: "second", SKU: fields.SKU, Status: domain.Active}, "the variant": other} {
		if _, err := s.Create(t.Context(), at(0), fields); fault.CodeOf(err) != fault.Conflict {
			t.Errorf("%s is taken twice: %v", name, err)
		}
	}
}

func onlyTheExpectedVersionIsChanged(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	id := mustCreate(t, s, domain.Fields{Title: "1"}).ID
	if _, err := s.Update(t.Context(), at(1), id, 1, retitle("2")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), at(2), id, 1, retitle("3")); fault.CodeOf(err) != fault.VersionMismatch {
		t.Errorf("update: %v", err)
	}
	if err := s.Delete(t.Context(), at(0), id, 1); fault.CodeOf(err) != fault.VersionMismatch {
		t.Errorf("delete: %v", err)
	}
	if item, err := s.Get(t.Context(), id); err != nil || item.Title != "2" || item.Version != 2 {
		t.Errorf("stored %+v, %v", item, err)
	}
}

func anImportOfAStrangeHandleRefusesItsRow(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	title := "t"
	results, err := s.Import(t.Context(), []domain.ImportRow{
		{Handle: "a\x00b", Patch: domain.Patch{Title: &title}},
		{Handle: "a\xffb", Patch: domain.Patch{Title: &title}},
		{Handle: "a\x00b", ImagesOnly: true},
		{Handle: "h", Options: []domain.Option{{Value: "\x00"}}, Patch: domain.Patch{Title: &title}},
		{Handle: "h", Options: []domain.Option{{Value: "1"}}, Patch: domain.Patch{Title: &title}},
	}, time.UnixMilli(0))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []domain.Outcome{domain.Rejected, domain.Rejected, domain.Rejected, domain.Rejected, domain.Created} {
		if results[i].Outcome != want {
			t.Errorf("row %d: %+v, want %s", i, results[i], want)
		}
	}
}

func aListGoesThroughAllItems(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	for n := range 5 {
		mustCreate(t, s, domain.Fields{Title: fmt.Sprint(n)})
	}
	var got []string
	for cursor, more := "", true; more; more = cursor != "" {
		page, err := s.List(t.Context(), 2, cursor)
		if err != nil {
			t.Fatal(err)
		}
		got, cursor = append(got, titles(page.Items)), page.Next
	}
	if want := []string{"0 1", "2 3", "4"}; !slices.Equal(got, want) {
		t.Errorf("pages %q, want %q", got, want)
	}
}

func aSeedIsPlantedOnce(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	seed := domain.Item{ID: 1024, Fields: domain.Fields{SKU: "kitex", Title: "Kitex", Status: domain.Active}, Version: 1}
	for range 2 {
		if err := s.Seed(t.Context(), seed); err != nil {
			t.Fatal(err)
		}
	}
	if next := mustCreate(t, s, domain.Fields{Title: "next"}); next.ID != 1025 {
		t.Errorf("the next id is %d", next.ID)
	}
	if err := s.Delete(t.Context(), at(0), 1024, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Seed(t.Context(), seed); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), 1024); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("after its deletion it was planted again: %v", err)
	}
}
