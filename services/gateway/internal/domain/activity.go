package domain

import "context"

// Trend is how much an item is in demand now. The numbers are decayed: what
// happened one half-life ago counts half.
type Trend struct {
	ItemID int64 `json:"-"`
	Item   Item  `json:"item"`
	// Score is too high by at most Error, and never too low.
	Score float64 `json:"score"`
	Error float64 `json:"error"`
	Views float64 `json:"views"`
	Sales float64 `json:"sales"`
}

// Trends is a list with the highest score first.
type Trends struct {
	Items []Trend `json:"items"`
	Seen
}

// Activity knows what is looked at and bought now. Errors are faults.
type Activity interface {
	// Viewed records without waiting. What cannot be recorded is dropped.
	Viewed(itemID int64)
	// Trending lists by viewed, bought or both, without the items themselves.
	// "" is both, and a limit of 0 is activity's default.
	Trending(ctx context.Context, kind string, limit int) ([]Trend, Seen, error)
}

// View returns an item, and records that it was looked at.
func (s *Shop) View(ctx context.Context, itemID int64) (Item, error) {
	item, err := s.Items.Get(ctx, itemID)
	if err == nil {
		s.Activity.Viewed(itemID)
	}
	return item, err
}

// Trending lists what is in demand now, without items that are no more.
func (s *Shop) Trending(ctx context.Context, kind string, limit int) (Trends, error) {
	trends, seen, err := s.Activity.Trending(ctx, kind, limit)
	if err != nil || len(trends) == 0 {
		return Trends{Seen: seen}, err
	}
	ids := make([]int64, len(trends))
	for i, trend := range trends {
		ids[i] = trend.ItemID
	}
	items, err := s.Items.Batch(ctx, ids)
	if err != nil {
		return Trends{}, err
	}
	byID := make(map[int64]Item, len(items))
	for _, item := range items {
		byID[item.ID] = item
	}
	found := Trends{Seen: seen}
	for _, trend := range trends {
		if item, known := byID[trend.ItemID]; known {
			trend.Item = item
			found.Items = append(found.Items, trend)
		}
	}
	return found, nil
}
