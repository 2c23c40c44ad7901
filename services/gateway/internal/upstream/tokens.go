package upstream

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/maypok86/otter/v2"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

const (
	// refreshEvery is how often the issuer's keys are fetched, and fetchPause the
	// least time between two fetches, however many tokens name keys that are not known.
	refreshEvery = 5 * time.Minute
	fetchPause   = 5 * time.Second
	fetchTimeout = 5 * time.Second
	// maxJWKS bounds the issuer's answer, in bytes, and maxSigners the keys in it.
	maxJWKS    = 256 << 10
	maxSigners = 100
	// minRSA is the least size of an RSA key, in bits, maxRSA the greatest: a greater one takes long.
	minRSA = 2048
	maxRSA = 8192
	// skew is by how much the issuer's clock may differ from ours.
	skew = time.Minute
	// maxVerified bounds the tokens that are remembered, so that each is verified once.
	maxVerified = 10_000
	maxSubject  = 128
)

var (
	errNoSigner      = errors.New("the issuer has no such key")
	errUnknownSigner = errors.New("the token names a key that is not known yet")
)

// TokensConfig says whose tokens are taken. It is empty if none are.
type TokensConfig struct {
	Issuer, Audience, JWKS string
}

// Check says what is wrong with the settings.
func (c TokensConfig) Check() error {
	if c == (TokensConfig{}) {
		return nil
	}
	if c.Issuer == "" || c.Audience == "" || c.JWKS == "" {
		return errors.New("jwt-issuer, jwt-audience and jwks-url belong together: give all of them or none")
	}
	at, err := url.Parse(c.JWKS)
	if err != nil || at.Host == "" || at.User != nil {
		return errors.New("jwks-url must be as https://issuer.example.com/jwks.json, without a user")
	}
	host := net.ParseIP(at.Hostname())
	loopback := at.Hostname() == "localhost" || host != nil && host.IsLoopback()
	if at.Scheme != "https" && (at.Scheme != "http" || !loopback) {
		return fmt.Errorf("jwks-url is %q; it must begin with https://, and may begin with http:// for this machine alone: who can change that answer can be anybody", c.JWKS)
	}
	return nil
}

// Tokens verifies JWTs by the public keys of their issuer, which Run fetches.
type Tokens struct {
	log    *slog.Logger
	now    func() time.Time
	parser *jwt.Parser
	fetch  func(ctx context.Context) ([]byte, error)
	wanted chan struct{} // a token names a key that is not known
	keys   atomic.Pointer[signers]
}

// signers are the issuer's keys at one time.
type signers struct {
	text     string
	fetched  time.Time
	keys     map[string]crypto.PublicKey // by key id
	verified *otter.Cache[[sha256.Size]byte, verified]
}

type verified struct {
	caller domain.Caller
	until  time.Time
}

// NewTokens makes Tokens that know no key until Run has fetched some.
func NewTokens(cfg TokensConfig, log *slog.Logger, now func() time.Time) *Tokens {
	return &Tokens{
		log: log, now: now, fetch: fetchJWKS(cfg.JWKS, fetchTimeout), wanted: make(chan struct{}, 1),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}),
			jwt.WithIssuer(cfg.Issuer), jwt.WithAudience(cfg.Audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
			jwt.WithLeeway(skew), jwt.WithTimeFunc(now)),
	}
}

// Run fetches the issuer's keys until ctx ends. The last good ones are kept.
func (t *Tokens) Run(ctx context.Context) {
	for failed := false; ; {
		err := t.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failed:
			t.log.ErrorContext(ctx, "the issuer's keys cannot be had; those before are kept", "error", err)
		case err == nil && failed:
			t.log.InfoContext(ctx, "the issuer's keys are there again")
		}
		failed = err != nil
		if !pause(ctx, fetchPause, nil) {
			return
		}
		if !failed && !pause(ctx, refreshEvery-fetchPause, t.wanted) {
			return
		}
	}
}

// pause returns after a time, or earlier if it is woken, and false when ctx has ended.
func pause(ctx context.Context, length time.Duration, woken <-chan struct{}) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// Age is the time since the issuer's keys were fetched, and whether they ever were.
func (t *Tokens) Age() (time.Duration, bool) {
	known := t.keys.Load()
	if known == nil {
		return 0, false
	}
	return t.now().Sub(known.fetched), true
}

func (t *Tokens) refresh(ctx context.Context) error {
	text, err := t.fetch(ctx)
	if err != nil {
		return err
	}
	next := &signers{text: string(text), fetched: t.now()}
	if known := t.keys.Load(); known != nil && known.text == next.text {
		next.keys, next.verified = known.keys, known.verified
		t.keys.Store(next)
		return nil
	}
	if next.keys, err = readJWKS(text); err != nil {
		return err
	}
	if next.verified, err = otter.New(&otter.Options[[sha256.Size]byte, verified]{MaximumSize: maxVerified}); err != nil {
		return err
	}
	t.keys.Store(next)
	return nil
}

// fetchJWKS reads the issuer's keys. A redirection is not followed: it could lead to where anybody may answer.
func fetchJWKS(from string, timeout time.Duration) func(ctx context.Context) ([]byte, error) {
	client := &http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
		if err != nil {
			return nil, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answered %s", from, response.Status)
		}
		text, err := io.ReadAll(io.LimitReader(response.Body, maxJWKS+1))
		if err == nil && len(text) > maxJWKS {
			err = fmt.Errorf("%s answered more than %d bytes", from, maxJWKS)
		}
		return text, err
	}
}

// readJWKS takes the keys that can verify signatures; an issuer may have others, too.
func readJWKS(text []byte) (map[string]crypto.PublicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("the issuer's keys are no JWK set: %w", err)
	}
	keys := map[string]crypto.PublicKey{}
	for _, raw := range set.Keys {
		read, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil || read.Marshal().USE == jwkset.UseEnc {
			continue
		}
		if key := read.Key(); verifies(key) {
			keys[read.Marshal().KID] = key
		}
	}
	if len(keys) == 0 || len(keys) > maxSigners {
		return nil, fmt.Errorf("the issuer has %d keys that can verify a signature; it must have 1 to %d", len(keys), maxSigners)
	}
	return keys, nil
}

func verifies(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSA && key.N.BitLen() <= maxRSA
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	default: // as a secret, with which anybody could sign who can verify
		return false
	}
}

// Caller implements domain.Tokens.
func (t *Tokens) Caller(_ context.Context, token string) (domain.Caller, error) {
	known := t.keys.Load()
	if known == nil {
		return domain.Caller{}, fault.New(fault.Unavailable, "tokens cannot be verified: the keys of their issuer are not known yet")
	}
	hash := sha256.Sum256([]byte(token))
	if before, found := known.verified.GetIfPresent(hash); found && t.now().Before(before.until) {
		return before.caller, nil
	}
	caller, until, err := t.verify(known, token)
	if errors.Is(err, errUnknownSigner) {
		select {
		case t.wanted <- struct{}{}:
		default:
		}
		return domain.Caller{}, fault.New(fault.Unavailable, "%s; it is asked for", errUnknownSigner)
	}
	if err != nil {
		return domain.Caller{}, fault.New(fault.Unauthenticated, "the token is refused: %s", reason(err)).Because(err)
	}
	known.verified.Set(hash, verified{caller, until})
	return caller, nil
}

// claims are those that are read beside the registered ones.
type claims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"`
}

func (t *Tokens) verify(known *signers, token string) (domain.Caller, time.Time, error) {
	var said claims
	if _, err := t.parser.ParseWithClaims(token, &said, func(parsed *jwt.Token) (any, error) { return t.signer(known, parsed) }); err != nil {
		return domain.Caller{}, time.Time{}, err
	}
	if said.Subject == "" || len(said.Subject) > maxSubject || strings.ContainsFunc(said.Subject, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return domain.Caller{}, time.Time{}, jwt.ErrTokenInvalidSubject
	}
	return domain.Caller{ID: "jwt/" + said.Subject, Scope: domain.ScopeOf(strings.Fields(said.Scope))}, said.ExpiresAt.Add(skew), nil
}

// signer is the key that a token names, or the only one if it names none.
func (t *Tokens) signer(known *signers, parsed *jwt.Token) (crypto.PublicKey, error) {
	id, named := parsed.Header[jwkset.HeaderKID].(string)
	if !named && len(known.keys) == 1 {
		for _, only := range known.keys {
			return only, nil
		}
	}
	if key, found := known.keys[id]; found {
		return key, nil
	}
	if named && t.now().Sub(known.fetched) > fetchPause { // the issuer may have a new one
		return nil, errUnknownSigner
	}
	return nil, errNoSigner
}

// reason says in our words why a token is refused.
func reason(err error) string {
	for _, known := range []struct {
		err  error
		text string
	}{
		{errNoSigner, "it names no key of its issuer"},
		{jwt.ErrTokenMalformed, "it is no JWT"},
		{jwt.ErrTokenSignatureInvalid, "its signature, or the algorithm of it, is not one of its issuer"},
		{jwt.ErrInvalidKeyType, "its algorithm is not that of the key that it names"},
		{jwt.ErrTokenExpired, "it has expired"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "it was issued in the future"},
		{jwt.ErrTokenInvalidAudience, "it is for another audience"},
		{jwt.ErrTokenInvalidIssuer, "it is of another issuer"},
		{jwt.ErrTokenRequiredClaimMissing, "it has no exp, iss or aud"},
		{jwt.ErrTokenInvalidSubject, "its sub must be 1 to 128 printable ASCII characters without spaces"},
	} {
		if errors.Is(err, known.err) {
			return known.text
		}
	}
	return "it cannot be verified"
}
