package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// dialect is what differs between the engines.
type dialect struct {
	// byIDs selects from items those of a JSON list, in its order.
	byIDs string
	// nextID selects the id after the highest that ever was.
	nextID string
	// matches selects the newest ids above a floor that an expression matches.
	// Its index is one of search_title, search_labels and search_all.
	matches func(index string) string
	// searchMode are arguments that come before those of matches.
	searchMode []any
	// expressions say that each word stands somewhere as it is, or begins a word that does.
	expressions func(words []string) (exact, prefix string)
	// index keeps the words of an item for the search.
	index func(ctx context.Context, tx *sqldb.Tx, item domain.Item, tags string) error
}

func dialectOf(db *sqldb.DB) dialect {
	if db.Postgres() != nil {
		return postgres()
	}
	return sqlite()
}

func sqlite() dialect {
	return dialect{
		byIDs:  `FROM json_each(?) wanted JOIN items ON items.id = wanted.value ORDER BY wanted.key`,
		nextID: `SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'items'`,
		matches: func(index string) string {
			return fmt.Sprintf(`SELECT rowid FROM %[1]s WHERE %[1]s MATCH ? AND rowid > ? ORDER BY rowid DESC LIMIT ?`, index)
		},
		expressions: func(words []string) (exact, prefix string) {
			whole, begins := make([]string, len(words)), make([]string, len(words))
			for i, word := range words {
				whole[i] = `"` + strings.ReplaceAll(word, `"`, `""`) + `"`
				begins[i] = whole[i] + ` *`
			}
			return strings.Join(whole, " AND "), strings.Join(begins, " AND ")
		},
		index: func(context.Context, *sqldb.Tx, domain.Item, string) error { return nil }, // triggers do
	}
}

func postgres() dialect {
	return dialect{
		byIDs: `FROM json_array_elements_text(?::json) WITH ORDINALITY AS wanted (value, key)
			JOIN items ON items.id = wanted.value::bigint ORDER BY wanted.key`,
		nextID: `SELECT greatest((SELECT max(id) FROM items), (SELECT id FROM last_deleted)) + 1`,
		matches: func(index string) string {
			return fmt.Sprintf(`SELECT item_id FROM words WHERE %s @@ ?::text::tsquery AND item_id > ? ORDER BY item_id DESC LIMIT ?`, index)
		},
		// Which plan is good depends on how many match, so it is made anew for every search.
		searchMode:  []any{pgx.QueryExecModeExec},
		expressions: tsqueries,
		index:       indexWords,
	}
}

// tsqueries: what splitWords cuts a word into stands side by side.
func tsqueries(words []string) (exact, prefix string) {
	var whole, begins []string
	for _, word := range words {
		var parts []string
		for _, part := range splitWords(word) {
			parts = append(parts, lexeme(part))
		}
		if len(parts) > 0 {
			phrase := strings.Join(parts, " <-> ")
			whole, begins = append(whole, phrase), append(begins, phrase+":*")
		}
	}
	return strings.Join(whole, " & "), strings.Join(begins, " & ")
}

func indexWords(ctx context.Context, tx *sqldb.Tx, item domain.Item, tags string) error {
	return tx.Exec(ctx, `
		INSERT INTO words (item_id, search_title, search_labels, search_all)
		VALUES (?, ?::text::tsvector, ?::text::tsvector, ?::text::tsvector)
		ON CONFLICT (item_id) DO UPDATE SET
			search_title = excluded.search_title, search_labels = excluded.search_labels, search_all = excluded.search_all
		WHERE words.search_all <> excluded.search_all OR words.search_labels <> excluded.search_labels`,
		item.ID,
		tsvector(item.Title),
		tsvector(item.Title, item.Vendor, item.Type, tags),
		tsvector(item.Title, item.Description, item.Vendor, item.Type, tags))
}

// tsvector lists the words of texts with their places. Words of two texts are
// never side by side. PostgreSQL keeps the first 256 places of a word, up to
// 16,383: a phrase behind them is not found.
func tsvector(texts ...string) string {
	var vector strings.Builder
	place := 0
	for _, text := range texts {
		for _, word := range splitWords(text) {
			place++
			fmt.Fprintf(&vector, "%s:%d ", lexeme(word), place)
		}
		place++
	}
	return vector.String()
}

// lexeme is a word for tsvector and tsquery, which take at most 2,046 bytes. No
// query is as long, so the beginning of a longer word is enough.
func lexeme(word string) string {
	const most = 2_046
	if len(word) > most {
		word = strings.ToValidUTF8(word[:most], "")
	}
	return "'" + word + "'"
}
