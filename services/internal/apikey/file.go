package apikey

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"go.yaml.in/yaml/v3"
)

const (
	// maxFile bounds the file of keys, in bytes.
	maxFile = 4 << 20
	// lockWait is how long a command waits for another to be done with the file.
	lockWait  = 10 * time.Second
	lockRetry = 20 * time.Millisecond
)

// errNoKeys refuses a file that was emptied: it would open the shop.
var errNoKeys = errors.New("the file has no key; it must have one at least, which may be revoked")

// File is where keys are kept: YAML, or JSON, which is YAML too. Its commands may run at the same time.
type File string

// contents are those of the file.
type contents struct {
	Keys []Key `yaml:"keys"`
}

// List is all keys, the oldest first. There is none if there is no file.
func (f File) List() ([]Key, error) {
	text, err := f.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	keys, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f, err)
	}
	return keys, nil
}

// Create adds a key, and makes the file if there is none. The key is returned
// and kept nowhere.
func (f File) Create(ctx context.Context, name string, scopes []string, now time.Time, random io.Reader) (string, Key, error) {
	text, made, err := generate(name, scopes, now, random)
	if err != nil {
		return "", Key{}, err
	}
	err = f.change(ctx, func(keys []Key) ([]Key, error) { return append(keys, made), nil })
	return text, made, err
}

// Revoke makes a key invalid. One that is revoked stays so since the first time.
func (f File) Revoke(ctx context.Context, id string, now time.Time) (revoked Key, err error) {
	err = f.change(ctx, func(keys []Key) ([]Key, error) {
		for i := range keys {
			if keys[i].ID != id {
				continue
			}
			if keys[i].RevokedAt == nil {
				at := now.UTC().Truncate(time.Second)
				keys[i].RevokedAt = &at
			}
			revoked = keys[i]
			return keys, nil
		}
		return nil, fmt.Errorf("%s has no key with the id %q", f, id)
	})
	return revoked, err
}

// change replaces the file as a whole, while no other command does.
func (f File) change(ctx context.Context, change func([]Key) ([]Key, error)) error {
	if err := os.MkdirAll(filepath.Dir(string(f)), 0o700); err != nil {
		return err
	}
	lock := flock.New(string(f) + ".lock")
	waiting, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	if _, err := lock.TryLockContext(waiting, lockRetry); err != nil {
		return fmt.Errorf("another command has locked %s: %w", lock.Path(), err)
	}
	defer func() { _ = lock.Close() }() // the process's end unlocks it too
	keys, err := f.List()
	if err != nil {
		return err
	}
	if keys, err = change(keys); err != nil {
		return err
	}
	text, err := yaml.Marshal(contents{keys})
	if err != nil {
		return err
	}
	if len(text) > maxFile {
		return fmt.Errorf("%s would be larger than %d bytes; take old keys out of it", f, maxFile)
	}
	return f.replace(text)
}

// replace writes another file and gives it the name, so that nobody reads a
// half, also after a crash.
func (f File) replace(text []byte) error {
	folder := filepath.Dir(string(f))
	next, err := os.CreateTemp(folder, filepath.Base(string(f))+".*") // 0600
	if err != nil {
		return err
	}
	_, err = next.Write(text)
	err = errors.Join(err, next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), string(f))
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	directory, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer directory.Close()
	return directory.Sync()
}

func (f File) read() ([]byte, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", f, maxFile)
	}
	return text, err
}

func decode(text []byte) ([]Key, error) {
	var read contents
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&read); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	seen := map[string]bool{}
	for i, key := range read.Keys {
		if err := key.check(); err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if seen[key.ID] {
			return nil, fmt.Errorf("keys[%d]: the id %s is there twice", i, key.ID)
		}
		seen[key.ID] = true
	}
	return read.Keys, nil
}

func index(keys []Key) (entries, error) {
	all := make(entries, len(keys))
	for _, key := range keys {
		hash, err := hex.DecodeString(key.SHA256)
		if err != nil {
			return nil, err
		}
		all[key.ID] = entry{key, hash}
	}
	return all, nil
}
