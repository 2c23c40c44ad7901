package sqldb_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

func TestOpenSaysWhatIsWrongWithTheURL(t *testing.T) {
	t.Parallel()
	const form = "; it must be as postgres://user@host[:port]/database[?password_file=…&sslmode=…]"
	for _, c := range []struct{ location, want string }{
		{"mysql://shop@db/shop", "-store: the scheme is not postgres" + form},
		{"shop@db/shop", "-store: the scheme is not postgres" + form},
		{"postgres:shop:hunter2@db/shop", "-store: the scheme is not postgres" + form},
		{"postgres://db/shop", "-store: the user is missing" + form},
		{"postgres://:hunter2@db/shop", "-store: the user is missing" + form},
		{"postgres://shop:hunter2@/shop", "-store: there must be one host" + form},
		{"postgres://shop@a,b/shop", "-store: there must be one host" + form},
		{"postgres://shop:hunter2@db", "-store: the database is missing or no name" + form},
		{"postgres://shop@db/", "-store: the database is missing or no name" + form},
		{"postgres://shop@db/a/b", "-store: the database is missing or no name" + form},
		{"postgres://shop@db:many/shop", "-store: the port is not 1 to 65535" + form},
		{"postgres://shop:hunter2@db:0/shop", "-store: the port is not 1 to 65535" + form},
		{"postgres://shop@db:65536/shop", "-store: the port is not 1 to 65535" + form},
		{"postgres://shop:hunter2%@db/shop", "-store: the user or the password has a % that begins no escape; write it as %25" + form},
		{"postgres://shop@db/shop?a=%", "-store: the parameters have a % that begins no escape, or a semicolon" + form},
		{"postgres://shop:hunter2?@db/shop", "-store: the user is missing" + form},
		{"postgres://shop@db/shop?sslmod=disable", "-store: there is no parameter sslmod; there are connect_timeout, password_file, pool_max_conn_idle_time, " +
			"pool_max_conn_lifetime, pool_max_conns, sslcert, sslkey, sslmode, sslrootcert"},
		{"postgres://shop@db/shop?sslmode=on", `-store: sslmode is "on"; it must be one of disable, allow, prefer, require, verify-ca, verify-full`},
		{"postgres://shop@db/shop?pool_max_conns=many", `-store: pool_max_conns is "many"; it must be 1 to 1000`},
		{"postgres://shop@db/shop?connect_timeout=5", `-store: connect_timeout is "5"; it must be a time as 30s`},
		{"postgres://shop@db/shop?password_file=/nonexistent", "-store: password_file: open /nonexistent: no such file or directory"},
		{"postgres://shop@db/shop?sslrootcert=/nonexistent", "-store: sslrootcert: open /nonexistent: no such file or directory"},
		{"postgres://shop:hunter2@db/shop?password_file=/dev/null", "-store: there are a password and a password_file; give one of them"},
	} {
		t.Run(c.location, func(t *testing.T) {
			t.Parallel()
			_, err := sqldb.Open(t.Context(), sqldb.Config{Store: sqldb.Location(c.location)}, "shop", schema(1))
			if err == nil || err.Error() != c.want {
				t.Errorf("error = %v, want %s", err, c.want)
			}
		})
	}
}

func TestOpenRefusesADirectoryBesideTheURL(t *testing.T) {
	t.Parallel()
	_, err := sqldb.Open(t.Context(), sqldb.Config{Data: "/srv/shop", Store: "postgres://shop@db/shop"}, "shop", schema(1))
	want := `-data is "/srv/shop" and -store is given too: choose the SQLite file or the PostgreSQL database`
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func TestALocationShowsNoPassword(t *testing.T) {
	t.Parallel()
	for location, want := range map[sqldb.Location]string{
		"": "",
		"postgres://shop@db/shop?password_file=/run/secrets/db": "postgres://shop@db:5432/shop",
		"postgresql://shop:hunter2@db:6432/shop?sslmode=prefer": "postgres://shop:***@db:6432/shop",
		"postgres://shop:hunter2@[::1]/shop":                    "postgres://shop:***@[::1]:5432/shop",
		"postgres://shop:a@hunter2/#@db/shop":                   "postgres://shop:***@db:5432/shop",
		"postgres://shop:1/hunter2@db/shop":                     "postgres://shop:***@db:5432/shop",
		"postgres://shop:hunter2?@db/shop":                      "***",
		"postgres://shop:hunter2@db":                            "***",
		"shop:hunter2@db/shop":                                  "***",
		"hunter2":                                               "***",
	} {
		t.Run(string(location), func(t *testing.T) {
			t.Parallel()
			asJSON, err := json.Marshal(location)
			if err != nil {
				t.Fatal(err)
			}
			for name, got := range map[string]string{
				"String": location.String(), "%v of Config": fmt.Sprint(sqldb.Config{Store: location, Data: want}), "JSON": strings.Trim(string(asJSON), `"`),
			} {
				if location != "" && got != want {
					t.Errorf("%s = %s, want %s", name, got, want)
				}
			}
		})
	}
}

type settings struct{ store sqldb.Config }

func (s *settings) Flags(fs *flag.FlagSet) {
	fs.SetOutput(io.Discard)
	s.store.Flags(fs)
}

func TestAPasswordIsRefusedAsAnArgument(t *testing.T) {
	t.Parallel()
	const want = "-store has a secret in it; give it in the environment, as KITESHOP_STORE, or in the file of -config"
	for _, args := range [][]string{
		{"-store", "postgres://shop:hunter2@db/shop"},
		{"--store=postgres://shop:hunter2@db/shop"},
		{"-data", "data", "-store=postgres://shop:a@hunter2/b@db"},
	} {
		if err := config.Parse("item", &settings{}, args); err == nil || err.Error() != want {
			t.Errorf("%v: error = %v, want %s", args, err, want)
		}
	}
	var s settings
	if err := config.Parse("item", &s, []string{"-store", "postgres://shop@db/shop"}); err != nil || s.store.Store != "postgres://shop@db/shop" {
		t.Errorf("without a password: %v, error %v", s.store, err)
	}
}

// t.Setenv forbids t.Parallel.
func TestAPasswordIsTakenFromTheEnvironmentAndNotShown(t *testing.T) {
	t.Setenv("KITESHOP_STORE", "postgres://shop:hunter2@db/shop")
	var s settings
	if err := config.Parse("item", &s, nil); err != nil {
		t.Fatal(err)
	}
	if s.store.Store != "postgres://shop:hunter2@db/shop" {
		t.Errorf("the store is %s", string(s.store.Store))
	}
	if got, want := config.Effective(&s).String(), "store=postgres://shop:***@db:5432/shop"; !strings.Contains(got, want) || strings.Contains(got, "hunter2") {
		t.Errorf("effective: %s, want %s in it and no password", got, want)
	}
}
