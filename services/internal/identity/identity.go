// Package identity gives a service a name that others can verify: it signs
// short-lived tokens with the service's key, and verifies those of others by
// their certificates. README.md says what that promises and what not.
package identity

import (
	"crypto/ed25519"
	"errors"
	"flag"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Config says where the keys are. Both are given, or none: then nobody says who it is.
type Config struct {
	// Key is the PEM file of the service's private key, or a directory in which it is NAME.key.
	Key string
	// Trust is a PEM file of certificates, or a directory of such files (.crt,
	// .pem). The subject's common name is the service that a key belongs to.
	Trust string
	// Required: calls without a token are refused. false: they pass, and are
	// counted, until each caller has a key. A token that is there must be valid.
	Required bool
}

// Flags declares -identity-key, -identity-trust and -identity-required.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.Key, "identity-key", c.Key, "PEM `file` of the service's private key (PKCS#8, Ed25519), or a directory that has it as NAME.key")
	fs.StringVar(&c.Trust, "identity-trust", c.Trust, "PEM `file` of the services' certificates, or a directory of such files (.crt, .pem)")
	fs.BoolVar(&c.Required, "identity-required", c.Required, "refuse calls without a token; false lets them pass until each caller has a key")
}

// Identity is who a service is, and whom it knows.
type Identity struct {
	service string
	cfg     Config
	now     func() time.Time
	parser  *jwt.Parser
	keys    atomic.Pointer[keys]

	mu      sync.Mutex
	read    bool // the files were, and are what was seen
	seen    digest
	problem error // of what was seen
}

// keys are those of one time, with the tokens that they made and verified: what
// another set of keys says about a token is looked at anew.
type keys struct {
	own      ed25519.PrivateKey
	id       string
	trusted  map[string]trusted // by the key's id
	signing  sync.Mutex
	made     memory[string]   // by audience
	verified memory[verified] // by token
}

// trusted is whose a key is, and from when until when.
type trusted struct {
	service     string
	key         ed25519.PublicKey
	from, until time.Time
}

// Open reads the keys of service, and fails if they are wrong. It gives nil if cfg names none.
func Open(service string, cfg Config, now func() time.Time) (*Identity, error) {
	switch {
	case cfg.Key == "" && cfg.Trust == "":
		return nil, nil //nolint:nilnil // nobody is asked who it is
	case cfg.Key == "":
		return nil, errors.New("identity: -identity-trust is given without -identity-key; give both, or none")
	case cfg.Trust == "":
		return nil, errors.New("identity: -identity-key is given without -identity-trust; give both, or none")
	}
	i := &Identity{service: service, cfg: cfg, now: now, parser: newParser(service, now)}
	_, err := i.Reload()
	if err != nil {
		return nil, err
	}
	return i, nil
}

// Reload reads the files if they are others than before, and tells whether the
// keys have changed. It fails, and leaves them as they are, as long as a file is
// wrong or has gone.
func (i *Identity) Reload() (changed bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	files, err := readFiles(i.service, i.cfg)
	if err != nil {
		i.read = false
		return false, err
	}
	seen := files.digest()
	if i.read && seen == i.seen {
		return false, i.problem
	}
	i.read, i.seen, i.problem = true, seen, nil
	keys, err := files.keys(i.service, i.now())
	if err != nil {
		i.problem = err
		return false, err
	}
	i.keys.Store(keys)
	return true, nil
}

// Report is who a service is and whom it knows. Nothing in it is secret.
type Report struct {
	Service string
	// Key is the id of its key, the thumbprint of RFC 7638.
	Key     string
	Trusted []Trusted
}

// Trusted is a key that a service knows.
type Trusted struct {
	Service     string
	Key         string
	From, Until time.Time
}

// Report tells what holds now.
func (i *Identity) Report() Report {
	keys := i.keys.Load()
	r := Report{Service: i.service, Key: keys.id}
	for id, t := range keys.trusted {
		r.Trusted = append(r.Trusted, Trusted{Service: t.service, Key: id, From: t.from, Until: t.until})
	}
	return r
}
