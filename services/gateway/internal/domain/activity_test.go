package domain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// catalogue has the items 7 and 9.
type catalogue struct{ Items }

func (catalogue) Get(_ context.Context, id int64) (Item, error) {
	if id != 7 && id != 9 {
		return Item{}, errors.New("there is no such item")
	}
	return Item{ID: id}, nil
}

func (c catalogue) Batch(ctx context.Context, ids []int64) ([]Item, error) {
	var found []Item
	for _, id := range slices.Sorted(slices.Values(ids)) {
		if item, err := c.Get(ctx, id); err == nil {
			found = append(found, item)
		}
	}
	return found, nil
}

// journal writes down what it is told, and has trends of 9, 8 and 7.
type journal struct{ told []string }

func (j *journal) Viewed(id int64) { j.told = append(j.told, fmt.Sprintf("viewed %d", id)) }
func (j *journal) Trending(_ context.Context, kind string, _ int) ([]Trend, Seen, error) {
	switch kind {
	case "bought":
		return nil, Seen{}, nil
	case "away":
		return nil, Seen{}, errors.New("activity is away")
	default:
		return []Trend{{ItemID: 9, Score: 3}, {ItemID: 8, Score: 2}, {ItemID: 7, Score: 1}}, Seen{}, nil
	}
}

func TestOnlyWhatHappenedIsRecorded(t *testing.T) {
	t.Parallel()
	j := &journal{}
	shop := &Shop{Items: catalogue{}, Activity: j}
	for _, id := range []int64{7, 8, 9} {
		if item, err := shop.View(t.Context(), id); (err == nil) != (id != 8) || item.ID != id && id != 8 {
			t.Errorf("item %d: %+v, %v", id, item, err)
		}
	}
	if want := []string{"viewed 7", "viewed 9"}; !slices.Equal(j.told, want) {
		t.Errorf("recorded %q, want %q", j.told, want)
	}
}

func TestTrendsKeepTheirOrderAndLeaveOutItemsThatAreGone(t *testing.T) {
	t.Parallel()
	shop := &Shop{Items: catalogue{}, Activity: &journal{}}
	trends, err := shop.Trending(t.Context(), "viewed", 10)
	if err != nil || len(trends.Items) != 2 || trends.Items[0].Item.ID != 9 || trends.Items[0].Score != 3 || trends.Items[1].Item.ID != 7 {
		t.Errorf("%+v, %v", trends, err)
	}
	if trends, err := shop.Trending(t.Context(), "bought", 10); err != nil || len(trends.Items) != 0 {
		t.Errorf("%+v, %v", trends, err)
	}
	if _, err := shop.Trending(t.Context(), "away", 10); err == nil {
		t.Error("an activity that is away has trends")
	}
}
