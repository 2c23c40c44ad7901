package sqldb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// form is what a Location looks like.
const form = "postgres://user@host[:port]/database[?password_file=…&sslmode=…]"

// The defaults of what a URL can say.
const (
	defaultPoolMaxConns   = 8 // of those that write, and as many that read
	defaultConnectTimeout = 5 * time.Second
)

// Location is the URL of a PostgreSQL database. A password in it is never
// shown, and refused on the command line.
type Location string

// Set implements flag.Value. What is wrong with text is said by Open: flag
// would repeat all of it.
func (l *Location) Set(text string) error {
	*l = Location(text)
	return nil
}

// String is the URL without its password and its parameters.
func (l Location) String() string {
	if l == "" {
		return ""
	}
	p, err := l.parse()
	if err != nil {
		return "***"
	}
	user := url.PathEscape(p.user)
	if p.password != "" {
		user += ":***"
	}
	return "postgres://" + user + "@" + net.JoinHostPort(p.host, p.port) + "/" + url.PathEscape(p.database)
}

// MarshalText is String, so that no encoder shows more.
func (l Location) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// SecretIn tells whether a URL has a password.
func (l *Location) SecretIn(text string) bool {
	p, _ := Location(text).parse()
	return p.password != ""
}

// parts are those of a URL.
type parts struct {
	user, password, host, port, database string
	params                               url.Values
}

// parse takes the URL apart. Its errors repeat nothing of it: a password with
// an unusual character may stand in any part.
func (l Location) parse() (p parts, err error) {
	wrong := func(what string) (parts, error) {
		return p, fmt.Errorf("-store: %s; it must be as %s", what, form)
	}
	scheme, rest, found := strings.Cut(string(l), "://")
	rest, query, _ := strings.Cut(rest, "?")
	at := strings.LastIndex(rest, "@") // a password may have another
	if at >= 0 {
		var err1, err2 error
		user, password, _ := strings.Cut(rest[:at], ":")
		p.user, err1 = url.PathUnescape(user)
		if p.password, err2 = url.PathUnescape(password); err1 != nil || err2 != nil {
			p.password = password
			return wrong("the user or the password has a % that begins no escape; write it as %25")
		}
	}
	address, database, _ := strings.Cut(rest[at+1:], "/")
	if p.host, p.port, err = net.SplitHostPort(address); err != nil {
		p.host, p.port = strings.Trim(address, "[]"), "5432"
	}
	port, portErr := strconv.Atoi(p.port)
	p.database, err = url.PathUnescape(database)
	switch {
	case !found || (scheme != "postgres" && scheme != "postgresql"):
		return wrong("the scheme is not postgres")
	case p.user == "":
		return wrong("the user is missing")
	case p.host == "" || strings.ContainsAny(p.host, ", "):
		return wrong("there must be one host")
	case portErr != nil || port < 1 || port > 65535:
		return wrong("the port is not 1 to 65535")
	case p.database == "" || err != nil || strings.Contains(p.database, "/"):
		return wrong("the database is missing or no name")
	}
	if p.params, err = url.ParseQuery(query); err != nil {
		return wrong("the parameters have a % that begins no escape, or a semicolon")
	}
	return p, nil
}

// check says what is wrong with the parameters.
func (p parts) check() error {
	var problems []error
	wrong := func(name, allowed string) {
		problems = append(problems, fmt.Errorf("-store: %s is %q; it must be %s", name, p.params.Get(name), allowed))
	}
	checks := map[string]func(name, value string){
		"sslmode": func(name, value string) {
			if modes := []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}; !slices.Contains(modes, value) {
				wrong(name, "one of "+strings.Join(modes, ", "))
			}
		},
		"pool_max_conns": func(name, value string) {
			if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 1000 {
				wrong(name, "1 to 1000")
			}
		},
	}
	for _, name := range []string{"password_file", "sslrootcert", "sslcert", "sslkey"} {
		checks[name] = func(name, value string) {
			if _, err := os.ReadFile(value); err != nil {
				problems = append(problems, fmt.Errorf("-store: %s: %w", name, err))
			}
		}
	}
	for _, name := range []string{"connect_timeout", "pool_max_conn_lifetime", "pool_max_conn_idle_time"} {
		checks[name] = func(name, value string) {
			if d, err := time.ParseDuration(value); err != nil || d <= 0 {
				wrong(name, "a time as 30s")
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.params)) {
		if check, known := checks[name]; known {
			check(name, p.params.Get(name))
		} else {
			problems = append(problems, fmt.Errorf("-store: there is no parameter %s; there are %s",
				name, strings.Join(slices.Sorted(maps.Keys(checks)), ", ")))
		}
	}
	if p.password != "" && p.params.Has("password_file") {
		problems = append(problems, errors.New("-store: there are a password and a password_file; give one of them"))
	}
	return errors.Join(problems...)
}

// pool is the configuration of a pool of connections to the database.
func (p parts) pool() (*pgxpool.Config, error) {
	text := url.URL{Scheme: "postgres", User: url.User(p.user), Host: net.JoinHostPort(p.host, p.port), Path: "/" + p.database}
	params := maps.Clone(p.params)
	params.Del("password_file") // is read with every new connection
	params.Del("connect_timeout")
	if !params.Has("pool_max_conns") {
		params.Set("pool_max_conns", strconv.Itoa(defaultPoolMaxConns))
	}
	text.RawQuery = params.Encode()
	cfg, err := pgxpool.ParseConfig(text.String())
	if err != nil {
		return nil, fmt.Errorf("-store: %w", err)
	}
	cfg.ConnConfig.ConnectTimeout = defaultConnectTimeout
	if p.params.Has("connect_timeout") {
		if cfg.ConnConfig.ConnectTimeout, err = time.ParseDuration(p.params.Get("connect_timeout")); err != nil {
			return nil, err
		}
	}
	cfg.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
		password, err := p.currentPassword()
		if password != "" {
			conn.Password = password
		}
		return err
	}
	return cfg, nil
}

// currentPassword reads the password anew: its file may change. It is empty
// when the URL names none.
func (p parts) currentPassword() (string, error) {
	if !p.params.Has("password_file") {
		return p.password, nil
	}
	content, err := os.ReadFile(p.params.Get("password_file"))
	if err != nil {
		return "", fmt.Errorf("%w: password_file: %w", ErrUnavailable, err)
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}
