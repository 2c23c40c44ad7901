package store

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// searched are items whose titles begin with their ids.
func searched() []domain.Fields {
	return []domain.Fields{
		{Title: "1", Description: "goes with a jacket, a t-shirt and a shirt-t"},
		{Title: "2", Tags: []string{"jackets", "t", "shirt"}},
		{Title: "3 Jacketed potato"},
		{Title: "4 Winter Jacket"},
		{Title: "5 JACKET, très chaud", Type: "T-Shirt"},
		{Title: "6", Vendor: "Jacket & Sons"},
		{Title: "7 nothing"},
		{Title: "8 Ä ö Ü ß ẞ É ç Ñ Ő ỗ İ ı Å æ Œ Ł ø", Description: "u\u0308ber e\u0301te\u0301 \u0301start n\u0305o"},
		{Title: "9 Straße STRASSE Żółć ΣΊΣΥΦΟΣ Йогурт йод ёлка İstanbul ısı"},
		{Title: "10 日本語の本 北京 서울 ไทย हिन्दी العربية עברית", Description: "商品、説明。ラーメン"},
		{Title: "11 👟Sneaker👟shoe 😀 ❤️ 👨‍👩‍👧 family", Description: "☂umbrella★star"},
		{Title: "12 4K 1080p 3.5mm ½ ² Ⅷ 𝟙 ٣ 2024-12-31"},
		{Title: "13 it's O'Neill \"quoted\" C++ C# .NET AT&T a_b a.b a:b a|b a!b (x) <y> [z] {w} \\ ' '' :* & | ! <->"},
		{Title: "14 " + strings.Repeat("x", 200), Description: strings.Repeat("y", 5_000) + "end " + strings.Repeat("漢", 3_000)},
		{Title: "15 a b c a b d", Description: "x-y-z y-z-x", Vendor: "end of vendor", Type: "start of type", Tags: []string{"tag one", "two-three", "<b>", `"q"`, "line\nbreak"}},
		{Title: "16 tab\tnew\nline\u00a0space\u2003em\u200bzero\u00adsoft\u2019quote\u2010hyphen"},
		{Title: "17 OR AND NOT NEAR jacket* ^jacket title:jacket -jacket +jacket"},
		{Title: "18 the last of the jacket t-shirts", Handle: "t", Options: []domain.Option{{Name: "a", Value: "b"}}},
	}
}

func createSearched(t *testing.T, s *Store) {
	t.Helper()
	for _, fields := range searched() {
		mustCreate(t, s, fields)
	}
}

func aSearchRanksByPlaces(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	createSearched(t, s)
	for query, want := range map[string]string{
		"winter":        "4",
		"jacket winter": "4",
		"JACKET":        "18 17 5 4 3 6 2 1", // in the title as a word, newest first; as a prefix; vendor, type, tags; description
		"jackete":       "3",
		"t-shirt":       "18 5 2 1", // the tags t and shirt stand side by side
		"t-shirts":      "18",
		"shirt-t":       "1",
		"tres":          "5",
		"strasse":       "9",
		"straße":        "9",
		"zołc":          "9",
		"σισυφος":       "",
		"uber":          "8",
		"日本":            "10",
		"語":             "",
		"sneaker":       "11",
		"3.5":           "12",
		"5mm":           "12",
		"2024-12":       "12",
		"o'neill":       "13",
		`"jacket" OR *`: "17",
		"c++":           "15 13 8 5",
		"one-two":       "15", // as PostgreSQL and SQLite see the tags: one list
		"vendor-start":  "",
		"zebra jacket":  "",
	} {
		if got := strings.Join(pages(t, s, query, 3), " "); got != want {
			t.Errorf("%s finds %s, want %s", query, got, want)
		}
	}
	if _, err := s.Search(t.Context(), "-- 😀 !", 1, ""); fault.CodeOf(err) != fault.InvalidArgument {
		t.Errorf("without a letter: %v", err)
	}
}

// pages are the numbers of the items that a search finds, through all its pages.
func pages(t *testing.T, s *Store, query string, limit int) []string {
	t.Helper()
	var found []string
	for cursor, more := "", true; more; more = cursor != "" {
		page, err := s.Search(t.Context(), query, limit, cursor)
		if err != nil {
			t.Fatalf("%q: %v", query, err)
		}
		for _, item := range page.Items {
			found = append(found, strconv.FormatInt(item.ID, 10))
		}
		if cursor = page.Next; cursor != "" && len(page.Items) != limit {
			t.Errorf("%q: a page of %d items is not the last", query, len(page.Items))
		}
	}
	return found
}

func TestBothEnginesFindTheSame(t *testing.T) {
	t.Parallel()
	files, server := open(t, sqldb.Config{Data: t.TempDir()}), open(t, sqldb.Config{Store: sqldb.Location(sqldbtest.StartPostgres(t).Database())})
	queries := map[string]bool{}
	add := func(query string) {
		if runes := []rune(query); len(runes) > domain.MaxQuery {
			query = string(runes[:domain.MaxQuery])
		}
		if len(searchWords(query)) > 0 {
			queries[query] = true
		}
	}
	var words []string
	for _, fields := range searched() {
		mustCreate(t, files, fields)
		mustCreate(t, server, fields)
		text := strings.Join(append(fields.Tags, fields.Title, fields.Description, fields.Vendor, fields.Type), " ")
		words = append(words, strings.Fields(text)...)
	}
	for i, word := range words {
		runes := []rune(word)
		add(word)
		add(string(runes[:(len(runes)+1)/2]))
		add([]string{ // one of these, or the test takes long
			strings.ToUpper(word),
			string(runes[len(runes)/2:]),
			word + " " + words[(i+7)%len(words)],
			word + "-" + words[(i+1)%len(words)],
			`"` + word + `'`,
		}[i%5])
	}
	for _, query := range slices.Sorted(maps.Keys(queries)) {
		if got, want := pages(t, server, query, 4), pages(t, files, query, 4); !slices.Equal(got, want) {
			t.Errorf("%q finds %v on PostgreSQL and %v on SQLite", query, got, want)
		}
	}
	t.Logf("%d queries", len(queries))
}

// SQLite's index knows the characters of Unicode 6.1. To it those that came
// later are letters, and have no capitals.
func TestWordsAreCutAsSQLiteCutsThem(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`
		CREATE VIRTUAL TABLE texts USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2');
		CREATE VIRTUAL TABLE tokens USING fts5vocab (texts, instance)`); err != nil {
		t.Fatal(err)
	}
	around := func(r rune) string { return "q" + string(r) + "Z " + string(r) }
	for _, all := range [][2]rune{{1, 0x3400}, {0x9f00, 0xad00}, {0xf900, 0x10000}, {0x1f000, 0x20000}} { // without most of the Han and the Hangul
		var text strings.Builder
		for r := all[0]; r < all[1]; r++ {
			fmt.Fprintf(&text, "number%d %s ", r, around(r))
		}
		if _, err := db.Exec(`INSERT INTO texts VALUES (?)`, text.String()); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := db.Query(`SELECT term FROM tokens ORDER BY doc, offset`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	tokens := map[rune][]string{}
	var at rune
	for rows.Next() {
		var token string
		if err := rows.Scan(&token); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(token, "number%d", &at); err != nil {
			tokens[at] = append(tokens[at], token)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	young := 0
	for r, want := range tokens {
		if got := splitWords(around(r)); !slices.Equal(got, want) {
			young++
			common := r < 0x370 || r >= 0x384 && r < 0x528 || r >= 0x5d0 && r < 0x600 || r >= 0x1e00 && r < 0x2000 ||
				unicode.In(r, unicode.Hangul, unicode.Hiragana, unicode.Katakana) || unicode.Is(unicode.Han, r) && r < 0x16000
			if common && r != 'Ǡ' && r != 'ǡ' {
				t.Errorf("%U %c: %q, and by SQLite %q", r, r, got, want)
			}
		}
	}
	if want := 3_000; young > want {
		t.Errorf("of %d characters %d are cut in another way, want at most %d", len(tokens), young, want)
	}
	t.Logf("of %d characters %d are cut in another way", len(tokens), young)
}
