package sqldb

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/google/uuid"
)

// checksum is the same for the same rows, in whatever order they come: their
// number, and the sum of their SHA-256. A primary key keeps any two apart.
type checksum struct {
	rows int64
	sum  [4]uint64
	text []byte // of the row at hand
}

// add counts a row. Each value stands with its kind and, if it is a text, its
// length, so that no two rows look alike.
func (c *checksum) add(values []any) error {
	c.text = c.text[:0]
	for _, value := range values {
		switch value := value.(type) {
		case nil:
			c.text = append(c.text, "null,"...)
		case int64:
			c.text = append(strconv.AppendInt(c.text, value, 10), ',')
		case string:
			c.text = append(strconv.AppendInt(append(c.text, '"'), int64(len(value)), 10), ':')
			c.text = append(c.text, value...)
		case [16]byte: // a UUID, which is a text to SQLite
			c.text = append(append(c.text, `"36:`...), uuid.UUID(value).String()...)
		default:
			return fmt.Errorf("there is no way to compare a %T", value)
		}
	}
	digest := sha256.Sum256(c.text)
	for i := range c.sum {
		c.sum[i] += binary.BigEndian.Uint64(digest[8*i:])
	}
	c.rows++
	return nil
}

func (c *checksum) String() string {
	var all []byte
	for _, part := range c.sum {
		all = binary.BigEndian.AppendUint64(all, part)
	}
	return hex.EncodeToString(all)
}
