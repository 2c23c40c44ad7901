package domain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

const (
	// MaxKey is the longest idempotency key, in characters.
	MaxKey = 255
	// chunk is how many commands are forgotten at a time, while callers wait.
	chunk = 256
)

// Command names a change that somebody asks for: the same again has no second
// effect and the same answer.
type Command struct {
	Operation string
	// Key is unique in the operation. Empty: the command is not remembered.
	Key string
	// Fingerprint is what commands of one operation and key must have in common.
	Fingerprint string
	// Stock is that of the item in the answer.
	Stock Available
	At    time.Time
}

// command makes one of all that the caller gave: its key and its parameters.
func (c *Catalogue) command(operation, key string, parameters ...any) (Command, error) {
	if len(key) > MaxKey || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return Command{}, fault.Invalid("idempotency_key", "must be 1 to %d printable ASCII characters", MaxKey)
	}
	text, err := json.Marshal(parameters)
	if err != nil {
		return Command{}, err
	}
	sum := sha256.Sum256(text) // a description may be long
	return Command{Operation: operation, Key: key, Fingerprint: hex.EncodeToString(sum[:]), At: c.Now()}, nil
}

// Forget forgets commands that are older than the retention.
func (c *Catalogue) Forget(ctx context.Context, retention time.Duration) error {
	before := c.Now().Add(-retention)
	for {
		if forgotten, err := c.Store.Forget(ctx, before, chunk); err != nil || forgotten < chunk {
			return err
		}
	}
}
