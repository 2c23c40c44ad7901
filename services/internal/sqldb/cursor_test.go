package sqldb_test

import (
	"encoding/base64"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

func TestACursorGivesBackItsPlace(t *testing.T) {
	t.Parallel()
	for _, place := range [][]int64{{}, {0}, {1024}, {-1, 1}, {math.MinInt64, math.MaxInt64, 0}} {
		cursor := sqldb.EncodeCursor("items", place...)
		got, err := sqldb.DecodeCursor("items", cursor, len(place))
		if err != nil || !slices.Equal(got, place) {
			t.Errorf("DecodeCursor(%q) = %v (error %v), want %v", cursor, got, err, place)
		}
		if again := sqldb.EncodeCursor("items", place...); again != cursor {
			t.Errorf("EncodeCursor(%v) = %q and then %q", place, cursor, again)
		}
	}
}

func TestDecodeCursorRefusesWhatItDidNotMake(t *testing.T) {
	t.Parallel()
	cursor := sqldb.EncodeCursor("items", 1024, 7)
	for _, c := range []struct {
		name, scope, cursor string
		size                int
	}{
		{"another list", "movements", cursor, 2},
		{"another filter of the list", "items?q=kite", cursor, 2},
		{"no scope", "", cursor, 2},
		{"fewer numbers", "items", cursor, 1},
		{"no numbers", "items", cursor, 0},
		{"more numbers", "items", cursor, 3},
		{"nothing", "items", "", 2},
		{"nothing, of size 0", "items", "", 0},
		{"other characters", "items", "/?#[]", 2},
		{"padding", "items", cursor + "=", 2},
		{"too short for a checksum", "items", base64.RawURLEncoding.EncodeToString([]byte{1, 2, 3}), 2},
		{"cut off", "items", cursor[:len(cursor)-2], 2},
		{"a changed place", "items", "A" + cursor[1:], 2},
		{"something appended", "items", cursor + "AAAA", 2},
		{"a cursor of the scope and the place of another split", "items\x00\x80", cursor, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got, err := sqldb.DecodeCursor(c.scope, c.cursor, c.size); !errors.Is(err, sqldb.ErrCursor) || got != nil {
				t.Errorf("DecodeCursor = %v (error %v), want ErrCursor", got, err)
			}
		})
	}
}

func FuzzDecodeCursor(f *testing.F) {
	f.Add("items", "", 0)
	f.Add("items", sqldb.EncodeCursor("items"), 0)
	f.Add("items", sqldb.EncodeCursor("items", 1024), 1)
	f.Add("items?q=kite", sqldb.EncodeCursor("items?q=kite", -1, math.MaxInt64), 2)
	f.Add("", sqldb.EncodeCursor("", 1, 2, 3), 2)
	f.Add("items", "AAAA", 1)
	f.Fuzz(func(t *testing.T, scope, cursor string, size int) {
		size = int(uint(size) % 5) // programs give it, callers do not
		place, err := sqldb.DecodeCursor(scope, cursor, size)
		if err != nil {
			if !errors.Is(err, sqldb.ErrCursor) || place != nil {
				t.Errorf("DecodeCursor = %v (error %v), want ErrCursor alone", place, err)
			}
			return
		}
		if len(place) != size {
			t.Errorf("place = %v, want %d numbers", place, size)
		}
		if again := sqldb.EncodeCursor(scope, place...); again != cursor {
			t.Errorf("%q decodes to %v, whose cursor is %q", cursor, place, again)
		}
	})
}
