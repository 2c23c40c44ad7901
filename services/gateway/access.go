package gateway

import (
	"context"
	"errors"
	"flag"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/gateway/internal/http"
	"github.com/kiteshop/kiteshop/services/gateway/internal/upstream"
	"github.com/kiteshop/kiteshop/services/internal/apikey"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// Access says who may ask. Empty: everybody, and no web page of another origin.
type Access struct {
	// Keys is the file of the API keys. From the first key on, writes need one.
	Keys string
	// KeysOptional lets the file be missing, until it is there.
	KeysOptional bool
	// Tokens says whose JWTs are taken, too. With it writes need a key or a token.
	Tokens upstream.TokensConfig
	// Certificate and Key are the PEM files of TLS. Empty: plain HTTP.
	Certificate, Key string
	// Origins are those of the web pages that may ask, separated by commas.
	Origins string
}

// Flags declares the settings.
func (a *Access) Flags(fs *flag.FlagSet) {
	fs.StringVar(&a.Keys, "api-keys", a.Keys, "`file` of the API keys, read again when it changes; from the first one on, writes need a key")
	fs.StringVar(&a.Tokens.Issuer, "jwt-issuer", a.Tokens.Issuer, "`iss` of the JWTs that are taken beside keys")
	fs.StringVar(&a.Tokens.Audience, "jwt-audience", a.Tokens.Audience, "`aud` that they must have")
	fs.StringVar(&a.Tokens.JWKS, "jwks-url", a.Tokens.JWKS, "`URL` of the public keys of their issuer, https unless on this machine")
	fs.StringVar(&a.Certificate, "tls-cert", a.Certificate, "PEM `file` of the certificate and its chain, read again when it changes; empty: no TLS")
	fs.StringVar(&a.Key, "tls-key", a.Key, "PEM `file` of the certificate's key")
	fs.StringVar(&a.Origins, "cors-origins", a.Origins, "`origins` of the web pages that may ask, separated by commas, as https://shop.example.com")
}

// origins is the list.
func (a *Access) origins() []string {
	if a.Origins == "" {
		return nil
	}
	return strings.Split(a.Origins, ",")
}

// check says what is wrong with settings that need no file.
func (a *Access) check() error {
	if (a.Certificate == "") != (a.Key == "") {
		return errors.New("tls-cert and tls-key belong together: give both or none")
	}
	return errors.Join(a.Tokens.Check(), http.CheckOrigins(a.origins()))
}

// openAccess reads the files, and adds the parts that keep what is known up to date.
func openAccess(cfg Config, files *transport.Files, tel *telemetry.Telemetry, life *lifecycle.Service) (http.Access, error) {
	access := http.Access{Origins: cfg.Access.origins(), TLS: cfg.Access.Certificate != ""}
	keys, err := apikey.Open(apikey.File(cfg.Access.Keys), cfg.Access.KeysOptional || cfg.Access.Keys == "")
	if err != nil {
		return access, err
	}
	if cfg.Access.Keys != "" {
		files.Follow("api-keys", keys.Reload)
	}
	access.Keys = upstream.Keys{Keys: keys}
	if cfg.Access.Tokens == (upstream.TokensConfig{}) {
		return access, nil
	}
	tokens := upstream.NewTokens(cfg.Access.Tokens, tel.Log, cfg.Now)
	access.Tokens = tokens
	life.Add(lifecycle.Background("jwks", tokens.Run))
	return access, measureTokens(tokens, cfg.Now, tel)
}

// measureTokens reports at each collection how old the issuer's keys are.
func measureTokens(tokens *upstream.Tokens, now func() time.Time, tel *telemetry.Telemetry) error {
	started := now()
	age, err := tel.Meter.Float64ObservableGauge("gateway.jwks.age", metric.WithUnit("s"),
		metric.WithDescription("Time since the keys of the tokens' issuer were fetched, or since the start."))
	if err != nil {
		return err
	}
	_, err = tel.Meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		since, known := tokens.Age()
		if !known {
			since = now().Sub(started)
		}
		to.ObserveFloat64(age, since.Seconds())
		return nil
	}, age)
	return err
}
