package sqldb_test

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

func TestDecodeCursorRefusesAnotherSpellingOfACursor(t *testing.T) {
	t.Parallel()
	overlong := []byte{0x82, 0x00} // 1 as a varint of two bytes
	sum := crc32.ChecksumIEEE(append([]byte("items\x00"), overlong...))
	for name, cursor := range map[string]string{
		"bits after the end": lastBit(sqldb.EncodeCursor("items", 1)),
		"a line break":       sqldb.EncodeCursor("items", 1)[:3] + "\n" + sqldb.EncodeCursor("items", 1)[3:],
		"an overlong number": base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(overlong, sum)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := sqldb.DecodeCursor("items", cursor, 1); !errors.Is(err, sqldb.ErrCursor) {
				t.Errorf("DecodeCursor(%q) = %v (error %v), want ErrCursor", cursor, got, err)
			}
		})
	}
}

// lastBit sets a bit of the last character that stands for nothing.
func lastBit(cursor string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	end := len(cursor) - 1
	for i := range alphabet {
		if alphabet[i] == cursor[end] {
			return cursor[:end] + alphabet[i^1:][:1]
		}
	}
	return ""
}
