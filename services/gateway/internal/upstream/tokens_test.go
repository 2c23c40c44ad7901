package upstream

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

const (
	issuer   = "https://login.example.com"
	audience = "kiteshop"
)

// issuerKeys are an issuer's, by id.
type issuerKeys map[string]crypto.Signer

func makeKey(t *testing.T, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ec":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// jwks is the document in which the issuer shows its keys.
func (keys issuerKeys) jwks(t *testing.T, more ...string) []byte {
	t.Helper()
	shown := []json.RawMessage{}
	for id, key := range keys {
		jwk, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id}})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(jwk.Marshal())
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, text)
	}
	for _, text := range more {
		shown = append(shown, json.RawMessage(text))
	}
	document, err := json.Marshal(map[string]any{"keys": shown})
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// token is what the issuer signs with a key: good claims, with changes.
func (keys issuerKeys) token(t *testing.T, id string, method jwt.SigningMethod, changes jwt.MapClaims) string {
	t.Helper()
	said := jwt.MapClaims{"iss": issuer, "aud": audience, "sub": "ann", "scope": "openid write", "exp": clock().Add(time.Hour).Unix()}
	maps.Copy(said, changes)
	maps.DeleteFunc(said, func(_ string, value any) bool { return value == nil })
	token := jwt.NewWithClaims(method, said)
	if id != "" {
		token.Header["kid"] = id
	}
	text, err := token.SignedString(keys[id])
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func clock() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

// takes makes Tokens that know what the document shows.
func takes(t *testing.T, document []byte) *Tokens {
	t.Helper()
	tokens := NewTokens(TokensConfig{Issuer: issuer, Audience: audience}, slog.New(slog.DiscardHandler), clock)
	tokens.fetch = func(context.Context) ([]byte, error) { return document, nil }
	if err := tokens.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestATokenOfTheIssuerSaysWhoCallsAndWhatFor(t *testing.T) {
	t.Parallel()
	keys := issuerKeys{"r": makeKey(t, "rsa"), "e": makeKey(t, "ec"), "d": makeKey(t, "ed")}
	tokens := takes(t, keys.jwks(t))
	for _, c := range []struct {
		id      string
		method  jwt.SigningMethod
		changes jwt.MapClaims
		want    domain.Scope
	}{
		{"r", jwt.SigningMethodRS256, nil, domain.Write},
		{"r", jwt.SigningMethodPS512, jwt.MapClaims{"scope": "admin"}, domain.Admin},
		{"e", jwt.SigningMethodES256, jwt.MapClaims{"scope": "read"}, domain.Read},
		{"d", jwt.SigningMethodEdDSA, jwt.MapClaims{"scope": "administrator Write"}, domain.NoScope},
		{"e", jwt.SigningMethodES256, jwt.MapClaims{"scope": nil}, domain.NoScope},
		{"e", jwt.SigningMethodES256, jwt.MapClaims{"aud": []string{"another", audience}}, domain.Write},
		{"e", jwt.SigningMethodES256, jwt.MapClaims{"exp": clock().Add(-59 * time.Second).Unix()}, domain.Write},
		{"e", jwt.SigningMethodES256, jwt.MapClaims{"nbf": clock().Add(59 * time.Second).Unix(), "iat": clock().Add(59 * time.Second).Unix()}, domain.Write},
	} {
		for range 2 { // the second is from memory
			caller, err := tokens.Caller(t.Context(), keys.token(t, c.id, c.method, c.changes))
			if want := (domain.Caller{ID: "jwt/ann", Scope: c.want}); err != nil || caller != want {
				t.Errorf("%s %v: %+v, %v", c.id, c.changes, caller, err)
			}
		}
	}
}

func TestATokenThatIsNotGoodIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	keys := issuerKeys{"r": makeKey(t, "rsa"), "e": makeKey(t, "ec")}
	forger := issuerKeys{"r": makeKey(t, "rsa"), "e": makeKey(t, "ec"), "x": makeKey(t, "ec"), "": makeKey(t, "ec")}
	tokens := takes(t, keys.jwks(t))
	es256 := func(changes jwt.MapClaims) string { return keys.token(t, "e", jwt.SigningMethodES256, changes) }
	good := es256(nil)
	parts := strings.Split(good, ".")
	symmetric := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": issuer, "aud": audience, "sub": "ann", "scope": "admin", "exp": clock().Add(time.Hour).Unix()})
	symmetric.Header["kid"] = "r"
	confused, err := symmetric.SignedString(keys.jwks(t)) // the public key as a secret
	if err != nil {
		t.Fatal(err)
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"iss": issuer, "aud": audience, "sub": "ann", "exp": clock().Add(time.Hour).Unix()})
	none, err := unsigned.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ token, says string }{
		"no token":          {"hunter2", "it is no JWT"},
		"two parts":         {parts[0] + "." + parts[1], "it is no JWT"},
		"no signature":      {parts[0] + "." + parts[1] + ".", "its signature"},
		"changed":           {parts[0] + "." + strings.Split(es256(jwt.MapClaims{"scope": "admin"}), ".")[1] + "." + parts[2], "its signature"},
		"forged":            {forger.token(t, "e", jwt.SigningMethodES256, nil), "its signature"},
		"forged RSA":        {forger.token(t, "r", jwt.SigningMethodRS256, nil), "its signature"},
		"unknown key":       {forger.token(t, "x", jwt.SigningMethodES256, nil), "it names no key of its issuer"},
		"no key named":      {forger.token(t, "", jwt.SigningMethodES256, nil), "it names no key of its issuer"},
		"unsigned":          {none, "its signature, or the algorithm of it"},
		"symmetric":         {confused, "its signature, or the algorithm of it"},
		"expired":           {es256(jwt.MapClaims{"exp": clock().Add(-61 * time.Second).Unix()}), "it has expired"},
		"without an end":    {es256(jwt.MapClaims{"exp": nil}), "it has no exp, iss or aud"},
		"not yet":           {es256(jwt.MapClaims{"nbf": clock().Add(61 * time.Second).Unix()}), "it is not valid yet"},
		"from the future":   {es256(jwt.MapClaims{"iat": clock().Add(61 * time.Second).Unix()}), "it was issued in the future"},
		"other audience":    {es256(jwt.MapClaims{"aud": "another"}), "it is for another audience"},
		"no audience":       {es256(jwt.MapClaims{"aud": nil}), "it has no exp, iss or aud"},
		"other issuer":      {es256(jwt.MapClaims{"iss": issuer + "/"}), "it is of another issuer"},
		"no subject":        {es256(jwt.MapClaims{"sub": nil}), "its sub must be 1 to 128 printable ASCII characters"},
		"long subject":      {es256(jwt.MapClaims{"sub": strings.Repeat("x", 129)}), "its sub must be"},
		"subject of 2 rows": {es256(jwt.MapClaims{"sub": "a\nb"}), "its sub must be"},
		"scope as a list":   {es256(jwt.MapClaims{"scope": []string{"admin"}}), "it is no JWT"},
	} {
		_, err := tokens.Caller(t.Context(), c.token)
		f := fault.From(err)
		if f == nil || f.Code != fault.Unauthenticated || !strings.HasPrefix(f.Message, "the token is refused: "+c.says) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(f.Message, "hunter2") {
			t.Errorf("%s repeats the token: %s", name, f.Message)
		}
	}
	if _, err := tokens.Caller(t.Context(), good); err != nil {
		t.Errorf("a good one after them: %v", err)
	}
}

func TestARememberedTokenExpiresToo(t *testing.T) {
	t.Parallel()
	keys, now := issuerKeys{"e": makeKey(t, "ec")}, clock()
	tokens := NewTokens(TokensConfig{Issuer: issuer, Audience: audience}, slog.New(slog.DiscardHandler), func() time.Time { return now })
	tokens.fetch = func(context.Context) ([]byte, error) { return keys.jwks(t), nil }
	if err := tokens.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	token := keys.token(t, "e", jwt.SigningMethodES256, nil)
	for _, step := range []struct {
		later time.Duration
		good  bool
	}{{0, true}, {time.Hour + skew - time.Second, true}, {time.Second, false}} {
		now = now.Add(step.later)
		if _, err := tokens.Caller(t.Context(), token); (err == nil) != step.good {
			t.Errorf("at %s: %v", now, err)
		}
	}
}

func TestAKeyThatTheIssuerTakesBackVerifiesNothing(t *testing.T) {
	t.Parallel()
	keys := issuerKeys{"old": makeKey(t, "ec"), "new": makeKey(t, "ec")}
	tokens := takes(t, keys.jwks(t))
	token := keys.token(t, "old", jwt.SigningMethodES256, nil)
	if _, err := tokens.Caller(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	delete(keys, "old")
	tokens.fetch = func(context.Context) ([]byte, error) { return keys.jwks(t), nil }
	if err := tokens.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Caller(t.Context(), token); fault.CodeOf(err) != fault.Unauthenticated {
		t.Errorf("it is answered %v", err)
	}
}

// TestTheIssuersKeysAreFetchedAtABoundedRate goes through a day of an issuer: away, there, with a new key, away.
func TestTheIssuersKeysAreFetchedAtABoundedRate(t *testing.T) {
	t.Parallel()
	keys := issuerKeys{"1": makeKey(t, "ec")}
	document, later := keys.jwks(t), issuerKeys{"1": keys["1"], "2": makeKey(t, "ec")}
	documentLater := later.jwks(t)
	later["3"] = makeKey(t, "ec")
	token := func(id string) string {
		return later.token(t, id, jwt.SigningMethodES256, jwt.MapClaims{"exp": time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Unix()})
	}
	first, second, third := token("1"), token("2"), token("3")
	synctest.Test(t, func(t *testing.T) {
		tokens := NewTokens(TokensConfig{Issuer: issuer, Audience: audience}, slog.New(slog.DiscardHandler), time.Now)
		var fetches atomic.Int64
		var answer atomic.Pointer[[]byte] // nil: the issuer is away
		tokens.fetch = func(context.Context) ([]byte, error) {
			fetches.Add(1)
			if text := answer.Load(); text != nil {
				return *text, nil
			}
			return nil, errors.New("connection refused")
		}
		ctx, stop := context.WithCancel(t.Context())
		go tokens.Run(ctx)
		after := func(what string, wait time.Duration, wantFetches int64, wants map[string]fault.Code) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if got := fetches.Load(); got != wantFetches {
				t.Errorf("%s: %d fetches, want %d", what, got, wantFetches)
			}
			for one, want := range wants {
				if _, err := tokens.Caller(ctx, one); fault.CodeOf(err) != want {
					t.Errorf("%s: %v, want %q", what, err, want)
				}
			}
		}
		after("away at the start", time.Second, 1, map[string]fault.Code{first: fault.Unavailable})
		if _, known := tokens.Age(); known {
			t.Error("nothing was fetched, and it has an age")
		}
		after("still away", time.Minute, 13, map[string]fault.Code{first: fault.Unavailable})
		answer.Store(&document)
		after("there", 5*time.Second, 14, map[string]fault.Code{first: "", second: fault.Unauthenticated}) // fetched just now
		after("a minute later", time.Minute, 14, map[string]fault.Code{first: ""})
		answer.Store(&documentLater)
		after("an unknown key", 0, 14, map[string]fault.Code{second: fault.Unavailable})
		after("it is asked for once", time.Second, 15, map[string]fault.Code{first: "", second: ""})
		answer.Store(nil)
		after("away again", 5*time.Minute, 16, map[string]fault.Code{first: "", second: ""})
		if age, _ := tokens.Age(); age < 5*time.Minute {
			t.Errorf("the keys are %s old", age)
		}
		empty := []byte("{}")
		answer.Store(&empty)
		after("no keys any more", time.Minute, 28, map[string]fault.Code{first: "", second: ""})
		answer.Store(&documentLater)
		time.Sleep(time.Minute)
		before := fetches.Load()
		for range 600 { // forged ones, for a minute
			_, _ = tokens.Caller(ctx, third)
			time.Sleep(100 * time.Millisecond)
		}
		if got := fetches.Load() - before; got < 2 || got > 13 {
			t.Errorf("%d fetches in a minute of forged tokens, want at most one in 5 s", got)
		}
		stop()
		synctest.Wait()
	})
}

func TestAnIssuersAnswerIsBounded(t *testing.T) {
	t.Parallel()
	answers := http.NewServeMux()
	answers.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
	answers.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	answers.HandleFunc("/drips", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("{"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	answers.Handle("/elsewhere", http.RedirectHandler("/good", http.StatusFound))
	answers.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })
	server := httptest.NewServer(answers)
	defer server.Close()
	for path, want := range map[string]string{
		"/large": "answered more than 262144 bytes", "/slow": "Client.Timeout", "/drips": "Client.Timeout",
		"/elsewhere": "answered 302 Found", "/nowhere": "answered 404 Not Found", "/good": "<nil>",
	} {
		text, err := fetchJWKS(server.URL+path, time.Second)(t.Context())
		if !strings.Contains(fmt.Sprint(err), want) || path == "/good" && string(text) != "{}" {
			t.Errorf("%s: %q, %v; want %s", path, text, err, want)
		}
	}
}

func TestOnlyKeysThatVerifyAreTaken(t *testing.T) {
	t.Parallel()
	keys := issuerKeys{"e": makeKey(t, "ec")}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak := issuerKeys{"weak": small}.jwks(t)
	_, weakKey, _ := strings.Cut(strings.TrimSuffix(string(weak), "]}"), "[")
	read, err := readJWKS(keys.jwks(t,
		`{"kty":"oct","kid":"secret","k":"aGFsbG8gaGFsbG8gaGFsbG8gaGFsbG8gaGFsbG8gaGE"}`, `{"kty":"new","kid":"n"}`, `{}`, `7`, weakKey))
	if err != nil || len(read) != 1 || read["e"] == nil {
		t.Errorf("%v, %v", read, err)
	}
	many := issuerKeys{}
	for i := range maxSigners + 1 {
		many[fmt.Sprint(i)] = makeKey(t, "ed")
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing": {"", "are no JWK set"}, "a page": {"<html>", "are no JWK set"}, "no key": {`{"keys":[]}`, "the issuer has 0 keys"},
		"only a secret": {`{"keys":[{"kty":"oct","k":"aGFsbG8"}]}`, "the issuer has 0 keys"}, "too many": {string(many.jwks(t)), "the issuer has 101 keys that can verify a signature; it must have 1 to 100"},
	} {
		if _, err := readJWKS([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnIssuerIsNamedWhole(t *testing.T) {
	t.Parallel()
	at := func(url string) TokensConfig { return TokensConfig{issuer, audience, url} }
	for _, good := range []TokensConfig{{}, at("https://login.example.com/jwks"), at("http://127.0.0.1:1/jwks"), at("http://[::1]:1/jwks"), at("http://localhost:1/jwks")} {
		if err := good.Check(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, c := range []struct {
		cfg  TokensConfig
		want string
	}{
		{TokensConfig{Issuer: issuer}, "jwt-issuer, jwt-audience and jwks-url belong together"},
		{TokensConfig{JWKS: "https://a"}, "belong together"},
		{at("jwks"), "jwks-url must be as https://issuer.example.com/jwks.json"},
		{at("https://user:hunter2@login.example.com"), "without a user"},
		{at("http://login.example.com/jwks"), "it must begin with https://"},
		{at("http://10.0.0.1/jwks"), "it must begin with https://"},
		{at("http://127.0.0.1.example.com/jwks"), "it must begin with https://"},
		{at("file://localhost/etc/passwd"), "it must begin with https://"},
	} {
		if err := c.cfg.Check(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}
