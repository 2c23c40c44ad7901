package apikey

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
)

// Keys are those of a file that may change while a program runs.
type Keys struct {
	file     File
	optional bool
	now      atomic.Pointer[entries]

	mu      sync.Mutex
	seen    []byte // the last text that was read
	problem error  // of seen
}

// Open reads the keys of a file, and fails if it is wrong. If it is optional it may be missing.
func Open(file File, optional bool) (*Keys, error) {
	k := &Keys{file: file, optional: optional}
	k.now.Store(&entries{})
	_, err := k.Reload()
	return k, err
}

// Any tells whether there has been a key, revoked or not.
func (k *Keys) Any() bool { return len(*k.now.Load()) > 0 }

// Find tells whose key it is, or fails with ErrUnknown or ErrRevoked.
func (k *Keys) Find(key string) (Key, error) { return k.now.Load().find(key) }

// Reload reads the file again, and tells whether its keys have changed. It
// fails, and leaves the keys as they are, as long as the file is wrong. A file
// that has gone, or has no key any more, is wrong: keys are taken back by
// revoking them.
func (k *Keys) Reload() (changed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	text, err := k.file.read()
	if errors.Is(err, fs.ErrNotExist) && k.optional && !k.Any() {
		return false, nil
	}
	if err != nil {
		k.seen = nil
		return false, fmt.Errorf("api-keys: %w", err)
	}
	if k.seen != nil && bytes.Equal(text, k.seen) {
		return false, k.problem
	}
	k.seen, k.problem = text, nil
	keys, err := decode(text)
	if err == nil && len(keys) == 0 {
		err = errNoKeys
	}
	if err != nil {
		k.problem = fmt.Errorf("api-keys: %s: %w", k.file, err)
		return false, k.problem
	}
	all, err := index(keys)
	if err != nil {
		return false, err
	}
	k.now.Store(&all)
	return true, nil
}
