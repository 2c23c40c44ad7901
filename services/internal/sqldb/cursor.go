package sqldb

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// ErrCursor: a cursor was not made by EncodeCursor with the same scope.
var ErrCursor = errors.New("is not a cursor of this list; take next_cursor from the page before, with the same query")

// EncodeCursor names a place in a list. scope is the list and its filters, so
// that a cursor of one list is refused by another.
func EncodeCursor(scope string, place ...int64) string {
	var raw []byte
	for _, n := range place {
		raw = binary.AppendVarint(raw, n)
	}
	sum := crc32.ChecksumIEEE(append([]byte(scope+"\x00"), raw...))
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(raw, sum))
}

// DecodeCursor returns the place of size numbers that EncodeCursor was given,
// or ErrCursor.
func DecodeCursor(scope, cursor string, size int) ([]int64, error) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < 4 {
		return nil, ErrCursor
	}
	raw, sum := raw[:len(raw)-4], raw[len(raw)-4:]
	if crc32.ChecksumIEEE(append([]byte(scope+"\x00"), raw...)) != binary.BigEndian.Uint32(sum) {
		return nil, ErrCursor
	}
	place := make([]int64, size)
	for i := range place {
		n, width := binary.Varint(raw)
		if width <= 0 {
			return nil, ErrCursor
		}
		place[i], raw = n, raw[width:]
	}
	if EncodeCursor(scope, place...) != cursor { // one place has one cursor
		return nil, ErrCursor
	}
	return place, nil
}
