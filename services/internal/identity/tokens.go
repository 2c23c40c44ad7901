package identity

import (
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// life is how long a token is valid; one that says it lives longer is refused.
	life = time.Minute
	// renewal is how much of its life a token has left when the next one is made.
	renewal = life / 3
	// skew is how far the clocks of two services may be apart.
	skew = 10 * time.Second
	// maxToken bounds what is looked at, in bytes. Ours have about 330.
	maxToken = 2048
	// scheme begins what is sent, as in RFC 6750.
	scheme = "Bearer "
)

// Reason is why a token is refused.
type Reason string

// The reasons.
const (
	// Malformed: it is no token, too large, or does not say all that a token must.
	Malformed Reason = "malformed"
	// UnknownKey: the key that it names is not trusted.
	UnknownKey Reason = "unknown_key"
	// Forged: the key has not signed it, or not for this service's name.
	Forged Reason = "forged"
	// Audience: it is for another service.
	Audience Reason = "audience"
	// Expired: its time is over.
	Expired Reason = "expired"
	// Future: its time has not come.
	Future Reason = "future"
	// Certificate: its key is trusted at another time.
	Certificate Reason = "certificate"
)

// Refusal is the error of a token that is refused.
type Refusal struct {
	Reason Reason
	text   string
}

// Error says what is wrong with the token, and nothing of what is in it.
func (r *Refusal) Error() string { return r.text }

// verified is what is known of a token.
type verified struct{ caller string }

// Bearer is what a call of audience carries: a token of this service's.
func (i *Identity) Bearer(audience string) (string, error) {
	keys, now := i.keys.Load(), i.now()
	if bearer, made := keys.made.get(audience, now); made {
		return bearer, nil
	}
	keys.signing.Lock()
	defer keys.signing.Unlock()
	if bearer, made := keys.made.get(audience, now); made {
		return bearer, nil
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer: i.service, Audience: jwt.ClaimStrings{audience}, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
	})
	token.Header["kid"] = keys.id
	signed, err := token.SignedString(keys.own)
	if err != nil {
		return "", errors.New("identity: a token cannot be signed")
	}
	bearer := scheme + signed
	keys.made.put(audience, bearer, now, now.Add(life-renewal))
	return bearer, nil
}

// Verify gives the service that bearer, which came with a call, is a token of.
// Its errors are refusals.
func (i *Identity) Verify(bearer string) (caller string, err error) {
	if len(bearer) > maxToken {
		return "", &Refusal{Malformed, "the token is longer than 2048 bytes"}
	}
	keys, now := i.keys.Load(), i.now()
	if known, ok := keys.verified.get(bearer, now); ok {
		return known.caller, nil
	}
	if len(bearer) < len(scheme) || !strings.EqualFold(bearer[:len(scheme)], scheme) {
		return "", &Refusal{Malformed, "the authorization is not as Bearer TOKEN"}
	}
	caller, until, err := keys.verify(i.parser, bearer[len(scheme):], now)
	if err != nil {
		return "", err
	}
	keys.verified.put(bearer, verified{caller}, now, until)
	return caller, nil
}

func newParser(service string, now func() time.Time) *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithAudience(service),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(skew),
		jwt.WithTimeFunc(now),
	)
}

var errUnknownKey = errors.New("unknown key")

// verify gives whose a token is, and until when that holds.
func (k *keys) verify(parser *jwt.Parser, token string, now time.Time) (caller string, until time.Time, err error) {
	var (
		claims jwt.RegisteredClaims
		signer trusted
	)
	_, err = parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		var known bool
		if signer, known = k.trusted[id]; !known {
			return nil, errUnknownKey
		}
		return signer.key, nil
	})
	switch {
	case err != nil:
		return "", until, refusal(err)
	case claims.Issuer != signer.service:
		return "", until, &Refusal{Forged, "the token is signed by the key of another service than the one it names"}
	case claims.IssuedAt == nil || len(claims.Audience) != 1 || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > life:
		return "", until, &Refusal{Malformed, "the token must say when it was made, be for one service and be valid for 60 s at most"}
	case now.Before(signer.from) || !now.Before(signer.until):
		return "", until, &Refusal{Certificate, "the certificate of the caller's key is not valid now"}
	}
	until = claims.ExpiresAt.Add(skew)
	if signer.until.Before(until) {
		until = signer.until
	}
	return signer.service, until, nil
}

// refusal says what the parser found.
func refusal(err error) *Refusal {
	for _, known := range []struct {
		is error
		Refusal
	}{
		{errUnknownKey, Refusal{UnknownKey, "the token is signed by a key that is not trusted here"}},
		{jwt.ErrTokenSignatureInvalid, Refusal{Forged, "the token's signature is wrong"}},
		{jwt.ErrTokenInvalidAudience, Refusal{Audience, "the token is for another service"}},
		{jwt.ErrTokenExpired, Refusal{Expired, "the token has expired"}},
		{jwt.ErrTokenUsedBeforeIssued, Refusal{Future, "the token is from the future; the clocks may be 10 s apart"}},
		{jwt.ErrTokenNotValidYet, Refusal{Future, "the token is not valid yet"}},
	} {
		if errors.Is(err, known.is) {
			return &known.Refusal
		}
	}
	return &Refusal{Malformed, "the token cannot be read"}
}
