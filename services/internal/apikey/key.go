// Package apikey makes the keys of a shop's HTTP callers, keeps their hashes in
// a file, and finds who has sent one.
package apikey

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// Prefix begins every key, so that one that leaked is found by searching.
	Prefix = "ks_"

	idBytes     = 8
	secretBytes = 32
	maxName     = 100
)

// What is wrong with a key that was sent.
var (
	ErrUnknown = errors.New("the key is not known")
	ErrRevoked = errors.New("the key is revoked")
)

// Key is what is kept of a key. A key is ks_ID_SECRET.
type Key struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
	// SHA256 is of the secret, in hexadecimal. A slow hash would add nothing: it
	// makes up for secrets that can be guessed, and these are 256 random bits.
	SHA256    string     `yaml:"sha256"`
	Scopes    []string   `yaml:"scopes"`
	CreatedAt time.Time  `yaml:"created_at"`
	RevokedAt *time.Time `yaml:"revoked_at,omitempty"`
}

// Scopes are what a key may be good for; each has those before it in it.
func Scopes() []string { return []string{"read", "write", "admin"} }

// Index is where in a text a key begins, or the beginning of one, and -1 if there is none.
func Index(text string) int {
	for from := 0; ; from += len(Prefix) {
		at := strings.Index(text[from:], Prefix)
		if at < 0 {
			return -1
		}
		from += at
		id, _, found := strings.Cut(text[from+len(Prefix):], "_")
		if found && isHex(id, idBytes) {
			return from
		}
	}
}

// generate draws a key. What it returns first is shown once and kept nowhere.
func generate(name string, scopes []string, now time.Time, random io.Reader) (string, Key, error) {
	drawn := make([]byte, idBytes+secretBytes)
	if _, err := io.ReadFull(random, drawn); err != nil {
		return "", Key{}, err
	}
	id, secret := hex.EncodeToString(drawn[:idBytes]), hex.EncodeToString(drawn[idBytes:])
	hash := sha256.Sum256([]byte(secret))
	key := Key{ID: id, Name: name, SHA256: hex.EncodeToString(hash[:]), Scopes: scopes, CreatedAt: now.UTC().Truncate(time.Second)}
	return Prefix + id + "_" + secret, key, key.check()
}

// check says what is wrong with an entry of the file, and what is allowed there.
func (k Key) check() error {
	switch {
	case !isHex(k.ID, idBytes):
		return fmt.Errorf("id is %q; it must be %d hexadecimal digits", k.ID, idBytes*2)
	case k.Name == "" || utf8.RuneCountInString(k.Name) > maxName || strings.ContainsFunc(k.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("name is %q; it must be 1 to %d printable characters", k.Name, maxName)
	case !isHex(k.SHA256, sha256.Size):
		return fmt.Errorf("sha256 is no SHA-256 in hexadecimal")
	case len(k.Scopes) == 0:
		return fmt.Errorf("scopes is empty; it must have one of %s", strings.Join(Scopes(), ", "))
	case k.CreatedAt.IsZero():
		return errors.New("created_at is missing")
	}
	for _, scope := range k.Scopes {
		if !slices.Contains(Scopes(), scope) {
			return fmt.Errorf("scopes has %q; there are %s", scope, strings.Join(Scopes(), ", "))
		}
	}
	return nil
}

func isHex(text string, bytes int) bool {
	decoded, err := hex.DecodeString(text)
	return err == nil && len(decoded) == bytes && text == strings.ToLower(text)
}

// entries are keys by id.
type entries map[string]entry

type entry struct {
	Key
	hash []byte
}

// find tells whose key it is. The time that it takes says whether there is an
// id, which is no secret, and nothing about the secret.
func (all entries) find(key string) (Key, error) {
	text, isKey := strings.CutPrefix(key, Prefix)
	id, secret, whole := strings.Cut(text, "_")
	found, known := all[id]
	if !isKey || !whole || !known {
		return Key{}, ErrUnknown
	}
	if hash := sha256.Sum256([]byte(secret)); subtle.ConstantTimeCompare(hash[:], found.hash) == 0 {
		return Key{}, ErrUnknown
	}
	if found.RevokedAt != nil {
		return found.Key, ErrRevoked
	}
	return found.Key, nil
}
