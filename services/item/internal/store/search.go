package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// Search implements domain.Store.
//
// The ranks are searched one after the other, each newest first, so that a page
// costs little more than its own rows. A floor keeps all but the newest
// domain.MaxRanked matches out, so that a rank that is empty costs little too.
func (s *Store) Search(ctx context.Context, query string, limit int, cursor string) (domain.Page, error) {
	words := searchWords(query)
	if len(words) == 0 {
		return domain.Page{}, fault.Invalid("q", "must contain a letter or a digit")
	}
	ranks, all := rankExpressions(words)
	scope := "search:" + strings.Join(words, " ")

	var page domain.Page
	err := s.db.Read().View(ctx, func(view sqldb.Querier) error { // all ranks see the same items
		var at place
		var err error
		if cursor != "" {
			at, err = decodePlace(scope, cursor)
		} else {
			at, err = firstPlace(ctx, view, all)
		}
		if err == nil {
			page, err = searchFrom(ctx, view, ranks, at, limit, scope)
		}
		return err
	})
	return page, err
}

// place is where a page begins: below the id before in a rank. Items up to floor do not take part.
type place struct{ rank, before, floor int64 }

func (p place) encode(scope string) string {
	return sqldb.EncodeCursor(scope, p.rank, p.before, p.floor)
}

func decodePlace(scope, cursor string) (place, error) {
	numbers, err := sqldb.DecodeCursor(scope, cursor, 3)
	if err != nil {
		return place{}, fault.Invalid("cursor", "%v", err)
	}
	return place{numbers[0], numbers[1], numbers[2]}, nil
}

func firstPlace(ctx context.Context, view sqldb.Querier, all string) (place, error) {
	start := place{before: math.MaxInt64}
	err := sqldb.QueryRow(ctx, view, `SELECT rowid FROM search WHERE search MATCH ? ORDER BY rowid DESC LIMIT 1 OFFSET ?`,
		all, domain.MaxRanked).Scan(&start.floor)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return place{}, err
	}
	return start, nil
}

func searchFrom(ctx context.Context, view sqldb.Querier, ranks []string, at place, limit int, scope string) (domain.Page, error) {
	page := domain.Page{Capped: at.floor > 0}
	for ; int(at.rank) < len(ranks); at.rank++ {
		missing := limit - len(page.Items)
		items, err := find(ctx, view, `FROM search CROSS JOIN items ON items.id = search.rowid
			WHERE search MATCH ? AND search.rowid < ? AND search.rowid > ?
			ORDER BY search.rowid DESC LIMIT ?`, ranks[at.rank], at.before, at.floor, missing+1)
		if err != nil {
			return domain.Page{}, err
		}
		if len(items) > missing {
			if missing > 0 {
				at.before = items[missing-1].ID
			}
			page.Items = append(page.Items, items[:missing]...)
			page.Next = at.encode(scope)
			return page, nil
		}
		page.Items = append(page.Items, items...)
		at.before = math.MaxInt64
	}
	return page, nil
}

// searchWords splits a query at white space and drops what has neither letter
// nor digit; the tokenizer splits the rest further, as "t-shirt" into two.
func searchWords(query string) []string {
	var words []string
	for word := range strings.FieldsFuncSeq(query, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }) {
			words = append(words, strings.ToLower(word))
		}
	}
	return words
}

// rankExpressions gives FTS5 expressions, best rank first, no two of which
// match the same item, and one that matches whatever any of them does.
func rankExpressions(words []string) (ranks []string, all string) {
	exact, prefix := make([]string, len(words)), make([]string, len(words))
	for i, word := range words {
		exact[i] = `"` + strings.ReplaceAll(word, `"`, `""`) + `"`
		prefix[i] = exact[i] + ` *`
	}
	all = strings.Join(prefix, " AND ")
	wholeInTitle := fmt.Sprintf("{title} : (%s)", strings.Join(exact, " AND "))
	inTitle := fmt.Sprintf("{title} : (%s)", all)
	inLabels := fmt.Sprintf("{title vendor type tags} : (%s)", all)
	return []string{
		wholeInTitle,
		fmt.Sprintf("(%s) NOT (%s)", inTitle, wholeInTitle),
		fmt.Sprintf("(%s) NOT (%s)", inLabels, inTitle),
		fmt.Sprintf("(%s) NOT (%s)", all, inLabels),
	}, all
}
