package store

import (
	"context"
	"errors"
	"math"
	"strings"
	"unicode"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// Search implements domain.Store.
//
// All that matches is looked up once, newest first and up to domain.MaxRanked;
// the oldest of them is the floor below which nothing takes part. Then the
// ranks are looked up one after the other until the page is full.
func (s *Store) Search(ctx context.Context, query string, limit int, cursor string) (domain.Page, error) {
	words := searchWords(query)
	if len(words) == 0 {
		return domain.Page{}, fault.Invalid("q", "must contain a letter or a digit")
	}
	scope := "search:" + strings.Join(words, " ")
	at := place{before: math.MaxInt64}
	if cursor != "" {
		numbers, err := sqldb.DecodeCursor(scope, cursor, 3)
		if err != nil {
			return domain.Page{}, fault.Invalid("cursor", "%v", err)
		}
		at = place{numbers[0], numbers[1], numbers[2]}
	}
	var page domain.Page
	err := s.db.Read().View(ctx, func(view sqldb.Querier) error { // all look-ups see the same items
		ids, next, err := s.searchIDs(ctx, view, words, at, limit)
		if err != nil {
			return err
		}
		if next.before > 0 {
			page.Next = sqldb.EncodeCursor(scope, next.rank, next.before, next.floor)
		}
		page.Capped = next.floor > 0
		page.Items, err = findByIDs(ctx, view, s.dialect, ids)
		return err
	})
	return page, translate(err)
}

// place is where a page begins: below the id before in a rank. Items up to floor do not take part.
type place struct{ rank, before, floor int64 }

// searchIDs returns the ids of a page and the place of the next one, whose
// before is 0 when there is none.
func (s *Store) searchIDs(ctx context.Context, view sqldb.Querier, words []string, at place, limit int) (ids []int64, next place, err error) {
	exact, prefix := s.dialect.expressions(words)
	all, err := s.matches(ctx, view, "search_all", prefix, at.floor, domain.MaxRanked+1)
	if err != nil {
		return nil, place{}, err
	}
	next.floor = at.floor
	if len(all) > domain.MaxRanked {
		next.floor = all[domain.MaxRanked]
		all = all[:domain.MaxRanked]
	}
	seen := make(map[int64]bool, len(all))
	for rank, found := range []func() ([]int64, error){
		func() ([]int64, error) {
			return s.matches(ctx, view, "search_title", exact, next.floor, domain.MaxRanked)
		},
		func() ([]int64, error) {
			return s.matches(ctx, view, "search_title", prefix, next.floor, domain.MaxRanked)
		},
		func() ([]int64, error) {
			return s.matches(ctx, view, "search_labels", prefix, next.floor, domain.MaxRanked)
		},
		func() ([]int64, error) { return all, nil },
	} {
		candidates, err := found()
		if err != nil {
			return nil, place{}, err
		}
		for _, id := range candidates {
			if seen[id] {
				continue
			}
			seen[id] = true
			if int64(rank) < at.rank || int64(rank) == at.rank && id >= at.before {
				continue
			}
			if len(ids) == limit {
				return ids, next, nil
			}
			ids = append(ids, id)
			next.rank, next.before = int64(rank), id
		}
	}
	next.before = 0
	return ids, next, nil
}

// matches returns the newest ids above floor that an expression matches in an index, newest first.
func (s *Store) matches(ctx context.Context, view sqldb.Querier, index, expression string, floor int64, limit int) (ids []int64, err error) {
	rows, err := view.Query(ctx, s.dialect.matches(index), append(s.dialect.searchMode, expression, floor, limit)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// searchWords splits a query at white space and drops what has neither letter
// nor digit; the index splits the rest further, as "t-shirt" into two.
func searchWords(query string) []string {
	var words []string
	for word := range strings.FieldsFuncSeq(query, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }) {
			words = append(words, strings.ToLower(word))
		}
	}
	return words
}
