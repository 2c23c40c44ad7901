package shop

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
)

// shopClient calls a shop that may have TLS and keys. authority is a file, or
// empty; key may be empty too.
func shopClient(authority, key string) (*http.Client, error) {
	trusted, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	if authority != "" {
		text, err := os.ReadFile(authority)
		if err != nil {
			return nil, err
		}
		trusted = x509.NewCertPool()
		if !trusted.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM", authority)
		}
	}
	network := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}
	return &http.Client{Transport: authorized{network, key}, CheckRedirect: refuseRedirect}, nil
}

// refuseRedirect keeps the key with the shop that it was given for.
func refuseRedirect(request *http.Request, _ []*http.Request) error {
	return errors.New("the shop sends to " + request.URL.Redacted() + "; give the address at which it answers")
}

// authorized sends the key with each request.
type authorized struct {
	http.RoundTripper
	key string
}

// RoundTrip implements http.RoundTripper.
func (a authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	if a.key != "" {
		request = request.Clone(request.Context())
		request.Header.Set("Authorization", "Bearer "+a.key)
	}
	return a.RoundTripper.RoundTrip(request)
}
