package discovery

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	defaultRefresh    = 10 * time.Second
	defaultEmptyGrace = 5 * time.Minute
	// defaultLeaveWait covers Kitex callers that do not watch: they ask again every 5 s.
	defaultLeaveWait      = 6 * time.Second
	defaultSessionTimeout = 10 * time.Second
)

// timing is what every registry can be told in its URL.
type timing struct {
	refresh    time.Duration // refresh: how often what is registered and listed is looked at, with no sign of a change
	emptyGrace time.Duration // empty_grace: how long an empty list is taken for a mistake, after one that was not
	leaveWait  time.Duration // leave_wait: from unregistering until every caller can know
}

// location is a registry's URL. net/url does not take the lists of hosts that
// are usual here.
type location struct {
	scheme string
	user   string
	hosts  string
	prefix string
	params url.Values

	known    []string
	problems []error
}

func parseLocation(text string) (*location, error) {
	l := &location{}
	var rest, query string
	l.scheme, rest, _ = strings.Cut(text, "://")
	rest, query, _ = strings.Cut(rest, "?")
	if user, after, found := strings.Cut(rest, "@"); found {
		name, _, password := strings.Cut(user, ":")
		if password {
			return nil, errors.New("the URL has a password; give it in a file named by password_file or in the environment")
		}
		var err error
		if l.user, err = url.PathUnescape(name); err != nil {
			return nil, fmt.Errorf("user %q: %w", name, err)
		}
		rest = after
	}
	l.hosts, l.prefix, _ = strings.Cut(rest, "/")
	l.prefix = strings.Trim(l.prefix, "/")
	var err error
	if l.params, err = url.ParseQuery(query); err != nil {
		return nil, fmt.Errorf("parameters %q: %w", query, err)
	}
	return l, nil
}

// String is the URL without its parameters. It holds no secret.
func (l *location) String() string {
	text := l.scheme + "://"
	if l.user != "" {
		text += url.PathEscape(l.user) + "@"
	}
	text += l.hosts
	if l.prefix != "" {
		text += "/" + l.prefix
	}
	return text
}

func (l *location) timing(kind kind) timing {
	return timing{
		refresh:    l.duration("refresh", defaultRefresh),
		emptyGrace: l.duration("empty_grace", defaultEmptyGrace),
		leaveWait:  l.duration("leave_wait", kind.leaveWait),
	}
}

func (l *location) text(name, otherwise string) string {
	if !slices.Contains(l.known, name) {
		l.known = append(l.known, name)
	}
	if !l.params.Has(name) {
		return otherwise
	}
	return l.params.Get(name)
}

func (l *location) duration(name string, otherwise time.Duration) time.Duration {
	text := l.text(name, otherwise.String())
	value, err := time.ParseDuration(text)
	if err != nil || value < 0 || (value == 0 && name != "leave_wait") {
		l.problems = append(l.problems, fmt.Errorf("%s is %q; it must be a time as %s", name, text, otherwise))
	}
	return value
}

func (l *location) truth(name string, otherwise bool) bool {
	text := l.text(name, strconv.FormatBool(otherwise))
	value, err := strconv.ParseBool(text)
	if err != nil {
		l.problems = append(l.problems, fmt.Errorf("%s is %q; it must be true or false", name, text))
	}
	return value
}

// contrib tells whether the contributed module is wanted instead of the driver of this package.
func (l *location) contrib() bool {
	switch text := l.text("driver", ""); text {
	case "":
		return false
	case "contrib":
		return true
	default:
		l.problems = append(l.problems, fmt.Errorf("driver is %q; it must be contrib, or absent", text))
		return false
	}
}

// servers are the hosts, each with a port.
func (l *location) servers(defaultPort string) []string {
	var servers []string
	for host := range strings.SplitSeq(l.hosts, ",") {
		if !strings.Contains(strings.TrimPrefix(host[strings.LastIndex(host, "]")+1:], "]"), ":") {
			host += ":" + defaultPort
		}
		if err := checkAddress(host); err != nil {
			l.problems = append(l.problems, fmt.Errorf("server %w", err))
		}
		servers = append(servers, host)
	}
	return servers
}

// password gives what to log in with, read anew at every call: a file may change.
func (l *location) password(fixed Secret) func() (string, error) {
	file := l.params.Get("password_file")
	if file == "" {
		return func() (string, error) { return string(fixed), nil }
	}
	return func() (string, error) {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("password_file: %w", err)
		}
		return strings.TrimRight(string(content), "\r\n"), nil
	}
}

// tlsFiles name what TLS needs. They are read anew with every connection: they may change.
type tlsFiles struct {
	on            bool
	ca, cert, key string
}

func (l *location) tls() tlsFiles {
	f := tlsFiles{ca: l.text("ca_file", ""), cert: l.text("cert_file", ""), key: l.text("key_file", "")}
	f.on = l.truth("tls", f.ca != "" || f.cert != "")
	if (f.cert == "") != (f.key == "") {
		l.problems = append(l.problems, errors.New("cert_file and key_file go together"))
	}
	return f
}

// config is nil where plain text is spoken.
func (f tlsFiles) config() (*tls.Config, error) {
	if !f.on {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		if cfg.RootCAs = x509.NewCertPool(); !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %s has no certificate", f.ca)
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("cert_file and key_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// unknown reports what was asked for and is wrong or does not exist.
func (l *location) unknown() error {
	l.text("password_file", "")
	slices.Sort(l.known)
	for name := range l.params {
		if !slices.Contains(l.known, name) {
			l.problems = append(l.problems, fmt.Errorf("there is no parameter %s; there are %s", name, strings.Join(l.known, ", ")))
		}
	}
	return errors.Join(l.problems...)
}
