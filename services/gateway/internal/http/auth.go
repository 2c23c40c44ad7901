package http

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/cloudwego/hertz/pkg/app"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/apikey"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

const (
	headerAuthorization = "Authorization"
	// maxCredential bounds a key or a token, in bytes.
	maxCredential = 8 << 10
	callerKey     = "caller"
)

// Access says who may ask, and from where.
type Access struct {
	Keys domain.Keys
	// Tokens is nil where none are taken.
	Tokens domain.Tokens
	// Origins are those of the web pages that may ask, as https://shop.example.com.
	Origins []string
	// TLS tells that callers come over TLS.
	TLS bool
}

// closed tells whether writes take a key or a token. It never opens again.
func (a Access) closed() bool { return a.Tokens != nil || a.Keys.Any() }

// Scheme is that of the URLs that callers use.
func (a Access) Scheme() string {
	if a.TLS {
		return "https"
	}
	return "http"
}

// What became of a request with a key or a token, or of one that should have had one.
const (
	byKey     = "key"
	byToken   = "token"
	missing   = "missing"   // a write without one
	malformed = "malformed" // no key and no token, or in a wrong place
	refused   = "refused"   // not known, revoked, forged, expired, of others
	undecided = "undecided" // the issuer's keys are not known
	denied    = "denied"    // its scope is too small
)

// guard lets requests in.
type guard struct {
	Access
	outcomes metric.Int64Counter
	labels   *telemetry.Labels[string]
}

func newGuard(access Access, tel *telemetry.Telemetry) (*guard, error) {
	outcomes, err := tel.Meter.Int64Counter("gateway.authentications", metric.WithUnit("{request}"),
		metric.WithDescription("Requests that came with a key or a token, or without one that they needed, by what became of it."))
	if err != nil {
		return nil, err
	}
	g := &guard{access, outcomes, telemetry.NewLabels(func(outcome string) []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("outcome", outcome)}
	})}
	for _, outcome := range []string{byKey, byToken, missing, malformed, refused, undecided, denied} {
		outcomes.Add(context.Background(), 0, g.labels.Get(outcome).Add...)
	}
	return g, nil
}

func (g *guard) count(ctx context.Context, outcome string) {
	g.outcomes.Add(ctx, 1, g.labels.Get(outcome).Add...)
}

// authenticate finds out who asks. A key that is given must be good, also for
// what is open to all: otherwise nobody notices that it is not.
func (g *guard) authenticate(ctx context.Context, c *app.RequestContext) {
	caller, outcome, err := g.identify(ctx, c)
	if outcome != "" {
		c.Header("Cache-Control", "no-store")
		g.count(ctx, outcome)
	}
	if err != nil {
		if outcome == refused {
			c.Header("WWW-Authenticate", `Bearer realm="kiteshop", error="invalid_token"`)
		}
		writeProblem(ctx, c, err)
		c.Abort()
		return
	}
	if outcome != "" {
		c.Set(callerKey, caller)
	}
	c.Next(ctx)
}

// identify gives the caller and what became of the key or the token: "" if there was none.
func (g *guard) identify(ctx context.Context, c *app.RequestContext) (caller domain.Caller, outcome string, err error) {
	if err := refuseSecretInURL(c); err != nil {
		return caller, malformed, err
	}
	headers := c.Request.Header.GetAll(headerAuthorization)
	if len(headers) == 0 {
		return caller, "", nil
	}
	credential, err := bearer(headers)
	if err != nil {
		return caller, malformed, err
	}
	switch {
	case strings.HasPrefix(credential, apikey.Prefix):
		caller, err = g.Keys.Caller(credential)
		outcome = byKey
	case g.Tokens == nil:
		err = fault.New(fault.Unauthenticated, "this is no key, which begins with "+apikey.Prefix+", and tokens are not taken here")
	default:
		caller, err = g.Tokens.Caller(ctx, credential)
		outcome = byToken
	}
	switch {
	case fault.CodeOf(err) == fault.Unavailable:
		outcome = undecided
	case err != nil:
		outcome = refused
	}
	return caller, outcome, err
}

// bearer reads the key or the token from the headers Authorization. What it says repeats nothing of them.
func bearer(headers []string) (string, error) {
	wrong := func(reason string) (string, error) {
		return "", fault.Invalid(headerAuthorization, "%s", reason+"; it must be as Authorization: Bearer "+apikey.Prefix+"…")
	}
	if len(headers) > 1 {
		return wrong("is given more than once")
	}
	if len(headers[0]) > maxCredential {
		return wrong("has more than 8192 bytes")
	}
	scheme, credential, _ := strings.Cut(headers[0], " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return wrong("has another scheme than Bearer")
	case credential == "":
		return wrong("has no key")
	case strings.ContainsFunc(credential, notToken):
		return wrong("has characters that no key and no token has")
	}
	return credential, nil
}

// notToken tells what RFC 6750 does not allow in a token.
func notToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
}

// refuseSecretInURL keeps keys out of URLs, which logs and traces of others
// have, and takes them out of this one before ours see it.
func refuseSecretInURL(c *app.RequestContext) error {
	uri := c.Request.URI()
	if len(uri.QueryString()) == 0 && !bytes.Contains(uri.Path(), []byte(apikey.Prefix)) {
		return nil
	}
	inPath := apikey.Index(string(uri.Path()))
	found := inPath >= 0
	c.QueryArgs().VisitAll(func(name, value []byte) {
		found = found || namesSecret(string(name)) || apikey.Index(string(name)) >= 0 || apikey.Index(string(value)) >= 0
	})
	if !found {
		return nil
	}
	if inPath >= 0 {
		uri.SetPath(string(uri.Path()[:inPath]) + "***")
	}
	uri.SetQueryString("")
	c.Request.SetRequestURI(string(uri.RequestURI()))
	return fault.Invalid("URL", "must have no key in it; it belongs in the header Authorization, and this one should be revoked: others may have read it")
}

// namesSecret tells whether a parameter is one in which others take keys.
func namesSecret(parameter string) bool {
	return slices.Contains([]string{"key", "api_key", "apikey", "api-key", "access_token", "token", "authorization"}, strings.ToLower(parameter))
}

// permitted is h for those who have a scope. Reads are open to all.
func (g *guard) permitted(scope domain.Scope, h handler) handler {
	if scope <= domain.Read {
		return h
	}
	return func(ctx context.Context, c *app.RequestContext) error {
		if g.closed() {
			if err := g.permit(ctx, c, scope); err != nil {
				return err
			}
		}
		return h(ctx, c)
	}
}

func (g *guard) permit(ctx context.Context, c *app.RequestContext, scope domain.Scope) error {
	caller, known := callerOf(c)
	if !known {
		g.count(ctx, missing)
		c.Header("Cache-Control", "no-store")
		c.Header("WWW-Authenticate", `Bearer realm="kiteshop"`)
		return fault.New(fault.Unauthenticated, "this takes a key with the scope %s, as Authorization: Bearer %s…", scope, apikey.Prefix).With("scope", scope.String())
	}
	if caller.Scope < scope {
		g.count(ctx, denied)
		c.Header("WWW-Authenticate", `Bearer realm="kiteshop", error="insufficient_scope", scope="`+scope.String()+`"`)
		return fault.New(fault.PermissionDenied, "this takes the scope %s, and %s has %s", scope, caller.ID, caller.Scope).With("scope", scope.String())
	}
	return nil
}

// callerOf is who asks, if that is known.
func callerOf(c *app.RequestContext) (domain.Caller, bool) {
	value, _ := c.Get(callerKey)
	caller, known := value.(domain.Caller)
	return caller, known
}

// ownKey makes the idempotency key of a caller differ from that of any other. It has 64 characters.
func ownKey(c *app.RequestContext, key string) string {
	caller, known := callerOf(c)
	if !known {
		return key
	}
	hash := sha256.Sum256([]byte(caller.ID + "\n" + key))
	return hex.EncodeToString(hash[:])
}

// actor is who causes a movement: whom the caller names, or else the caller.
func actor(c *app.RequestContext, named string) string {
	if caller, known := callerOf(c); known && named == "" {
		return caller.ID
	}
	return named
}

// CheckOrigins says what is wrong with a list of origins.
func CheckOrigins(origins []string) error {
	var problems []error
	for _, origin := range origins {
		problems = append(problems, checkOrigin(origin))
	}
	return errors.Join(problems...)
}
