package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	maxFile         = 1 << 20 // bytes
	maxFiles        = 1000    // of a directory
	maxCertificates = 1000
)

// file is what was read at a path.
type file struct {
	path string
	text []byte
}

// files are the key and the certificates as they were read.
type files struct {
	key   file
	trust []file
}

type digest [sha256.Size]byte

// digest tells one content from another.
func (f files) digest() digest {
	hash := sha256.New()
	for _, of := range append([]file{f.key}, f.trust...) {
		fmt.Fprintf(hash, "%q %d ", of.path, len(of.text))
		hash.Write(of.text)
	}
	return digest(hash.Sum(nil))
}

func readFiles(service string, cfg Config) (f files, err error) {
	if f.key, err = readKey(service, cfg.Key); err != nil {
		return f, fmt.Errorf("identity: -identity-key: %w", err)
	}
	if f.trust, err = readTrust(cfg.Trust); err != nil {
		return f, fmt.Errorf("identity: -identity-trust: %w", err)
	}
	return f, nil
}

// readKey reads the file at path, or the one of service in the directory there.
func readKey(service, path string) (file, error) {
	about, err := os.Stat(path)
	if err != nil {
		return file{}, err
	}
	if about.IsDir() {
		path = filepath.Join(path, service+".key")
	}
	return readFile(path)
}

// readTrust reads the file at path, or those in the directory there.
func readTrust(path string) ([]file, error) {
	about, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !about.IsDir() {
		one, err := readFile(path)
		return []file{one}, err
	}
	// What Kubernetes mounts changes as a whole, by the link ..data.
	within := path
	if now, err := filepath.EvalSymlinks(filepath.Join(path, "..data")); err == nil {
		within = now
	}
	entries, err := os.ReadDir(within)
	if err != nil {
		return nil, err
	}
	var read []file
	for _, entry := range entries {
		if ending := filepath.Ext(entry.Name()); strings.HasPrefix(entry.Name(), ".") || ending != ".crt" && ending != ".pem" {
			continue
		}
		if len(read) == maxFiles {
			return nil, fmt.Errorf("%s has more than %d files", path, maxFiles)
		}
		one, err := readFile(filepath.Join(within, entry.Name()))
		if err != nil {
			return nil, err
		}
		one.path = filepath.Join(path, entry.Name())
		read = append(read, one)
	}
	if len(read) == 0 {
		return nil, fmt.Errorf("%s has no file whose name ends in .crt or .pem", path)
	}
	return read, nil
}

func readFile(path string) (file, error) {
	if about, err := os.Stat(path); err != nil || !about.Mode().IsRegular() {
		if err == nil {
			err = fmt.Errorf("%s is no file", path)
		}
		return file{}, err
	}
	from, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer from.Close()
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return file{path, text}, err
}

// keys makes of the files what they hold.
func (f files) keys(service string, now time.Time) (*keys, error) {
	own, err := f.key.privateKey()
	if err != nil {
		return nil, fmt.Errorf("identity: %s: %w", f.key.path, err)
	}
	k := &keys{own: own, trusted: map[string]trusted{}}
	for _, from := range f.trust {
		if err := k.trust(from); err != nil {
			return nil, fmt.Errorf("identity: %s: %w", from.path, err)
		}
	}
	public, _ := own.Public().(ed25519.PublicKey)
	k.id = thumbprint(public)
	switch known, ok := k.trusted[k.id]; {
	case !ok:
		return nil, fmt.Errorf("identity: no certificate in -identity-trust is that of the key %s; there are certificates of %s", f.key.path, strings.Join(k.services(), ", "))
	case known.service != service:
		return nil, fmt.Errorf("identity: the key %s is that of %s by its certificate; this is %s", f.key.path, known.service, service)
	case !now.Before(known.until):
		return nil, fmt.Errorf("identity: the certificate of the key %s has ended at %s; make another", f.key.path, known.until.Format(time.RFC3339))
	}
	return k, nil
}

// services are those that are known, by name.
func (k *keys) services() []string {
	names := map[string]bool{}
	for _, t := range k.trusted {
		names[t.service] = true
	}
	return slices.Sorted(maps.Keys(names))
}

var errPrivateKey = errors.New("it must hold one block PRIVATE KEY and nothing else: an Ed25519 key as PKCS#8")

// privateKey is what the file holds. No error says anything of its content.
func (f file) privateKey() (ed25519.PrivateKey, error) {
	blocks, err := f.blocks()
	if err != nil || len(blocks) != 1 || blocks[0].Type != "PRIVATE KEY" {
		return nil, errPrivateKey
	}
	parsed, err := x509.ParsePKCS8PrivateKey(blocks[0].Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, errPrivateKey
	}
	return key, nil
}

// trust adds the certificates of a file. One that is renewed holds for its key
// from the begin of the first to the end of the last.
func (k *keys) trust(from file) error {
	blocks, err := from.blocks()
	if err != nil {
		return err
	}
	if len(blocks) == 0 {
		return errors.New("it holds no block CERTIFICATE")
	}
	for n, block := range blocks {
		t, err := certified(block)
		if err != nil {
			return fmt.Errorf("block %d: %w", n+1, err)
		}
		id := thumbprint(t.key)
		if known, again := k.trusted[id]; again {
			if known.service != t.service {
				return fmt.Errorf("block %d: the key of %s is that of %s, too; each service must have its own", n+1, t.service, known.service)
			}
			if known.from.Before(t.from) {
				t.from = known.from
			}
			if known.until.After(t.until) {
				t.until = known.until
			}
		}
		k.trusted[id] = t
		if len(k.trusted) > maxCertificates {
			return fmt.Errorf("there are more than %d certificates", maxCertificates)
		}
	}
	return nil
}

// certified is whose key a certificate says it is.
func certified(block *pem.Block) (t trusted, err error) {
	if block.Type != "CERTIFICATE" {
		return t, fmt.Errorf("it is %.30q; only CERTIFICATE is allowed, and a private key belongs to its service alone", block.Type)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return t, errors.New("it is no X.509 certificate")
	}
	key, ok := certificate.PublicKey.(ed25519.PublicKey)
	if !ok {
		return t, fmt.Errorf("its key is %s; it must be Ed25519", certificate.PublicKeyAlgorithm)
	}
	if err := checkName(certificate.Subject.CommonName); err != nil {
		return t, fmt.Errorf("its common name: %w", err)
	}
	return trusted{certificate.Subject.CommonName, key, certificate.NotBefore, certificate.NotAfter}, nil
}

// blocks are all of a file's. pem.Decode passes over one that is broken.
func (f file) blocks() (blocks []*pem.Block, err error) {
	for rest := f.text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks = append(blocks, block)
	}
	if begun := bytes.Count(f.text, []byte("-----BEGIN ")); begun != len(blocks) {
		return nil, fmt.Errorf("%d of its %d PEM blocks cannot be read", begun-len(blocks), begun)
	}
	return blocks, nil
}

// checkName refuses names that no service has.
func checkName(name string) error {
	if !regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`).MatchString(name) {
		return fmt.Errorf("%.70q is no name of a service; it must have 1 to 63 of a to z, 0 to 9 and -", name)
	}
	return nil
}

// thumbprint is the id of a key, as RFC 7638 and RFC 8037 make it.
func thumbprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
