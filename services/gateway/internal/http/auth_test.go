package http

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	stdhttp "net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// aKey is a key as it looks, of nobody.
const aKey = "ks_0123456789abcdef_00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// scopes are keys named after their scopes.
type scopes struct{}

func (scopes) Any() bool { return true }

func (scopes) Caller(key string) (domain.Caller, error) {
	if scope := domain.ScopeOf([]string{strings.TrimPrefix(key, "ks_")}); scope != domain.NoScope {
		return domain.Caller{ID: "key/" + scope.String(), Scope: scope}, nil
	}
	return domain.Caller{}, fault.New(fault.Unauthenticated, "the key is not known")
}

// tokens knows one token, and cannot tell about another.
type tokens struct{}

func (tokens) Caller(_ context.Context, token string) (domain.Caller, error) {
	switch token {
	case "good":
		return domain.Caller{ID: "jwt/ann", Scope: domain.Write}, nil
	case "who":
		return domain.Caller{}, fault.New(fault.Unavailable, "nobody can tell")
	default:
		return domain.Caller{}, fault.New(fault.Unauthenticated, "the token is refused")
	}
}

// ask sends a request, with lines of headers, and returns the answer and its body.
func (s served) ask(method, path string, header ...string) (*stdhttp.Response, string) {
	s.t.Helper()
	request, err := stdhttp.NewRequestWithContext(s.t.Context(), method, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, line := range header {
		if name, value, given := strings.Cut(line, ": "); given {
			request.Header.Add(name, value)
		}
	}
	answer, err := s.client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer, string(text)
}

func TestEachRouteTakesItsScopeAndReadsAreOpen(t *testing.T) {
	t.Parallel()
	s := serveAccess(t, Access{Keys: scopes{}})
	for _, r := range (&Handler{}).routes() {
		path := strings.NewReplacer(":id", "x", ":item_id", "x").Replace(r.path) // what is let in fails, as there are no services
		want := domain.Read
		if r.method != stdhttp.MethodGet {
			want = domain.Write
		}
		if slices.Contains([]string{"DELETE /api/v1/items/:id", "POST /api/v1/imports", "PATCH /api/v1/stock/:item_id"}, r.method+" "+r.path) {
			want = domain.Admin
		}
		for has := range domain.Admin + 1 {
			var header []string
			if has > domain.NoScope {
				header = []string{"Authorization: Bearer ks_" + has.String()}
			}
			answer, text := s.ask(r.method, path, header...)
			in := answer.StatusCode != stdhttp.StatusUnauthorized && answer.StatusCode != stdhttp.StatusForbidden
			if in != (want <= domain.Read || has >= want) {
				t.Errorf("%s %s with %s: %s %s", r.method, path, has, answer.Status, text)
			}
		}
	}
}

func TestWhoMayNotIsToldWhatIsNeeded(t *testing.T) {
	t.Parallel()
	s := serveAccess(t, Access{Keys: scopes{}, Tokens: tokens{}})
	for _, c := range []struct {
		name   string
		method string
		path   string
		header []string
		status int
		says   string
		asks   string // WWW-Authenticate
	}{
		{"no key", "POST", "/api/v1/items", nil, 401, "this takes a key with the scope write, as Authorization: Bearer ks_…", `Bearer realm="kiteshop"`},
		{"no key for an import", "POST", "/api/v1/imports", nil, 401, `"scope":"admin"`, `Bearer realm="kiteshop"`},
		{"too small a key", "DELETE", "/api/v1/items/7", []string{"Authorization: Bearer ks_write"}, 403, "this takes the scope admin, and key/write has write", `Bearer realm="kiteshop", error="insufficient_scope", scope="admin"`},
		{"too small a token", "DELETE", "/api/v1/items/7", []string{"Authorization: Bearer good"}, 403, "jwt/ann has write", `Bearer realm="kiteshop", error="insufficient_scope", scope="admin"`},
		{"unknown key for a read", "GET", "/api/v1/stock/7", []string{"Authorization: Bearer ks_none"}, 401, "the key is not known", `Bearer realm="kiteshop", error="invalid_token"`},
		{"bad token for a read", "GET", "/api/v1/stock/7", []string{"Authorization: Bearer bad"}, 401, "the token is refused", `Bearer realm="kiteshop", error="invalid_token"`},
		{"token that nobody can judge", "POST", "/api/v1/items", []string{"Authorization: Bearer who"}, 503, `"code":"unavailable"`, ""},
		{"two keys", "GET", "/api/v1/stock/7", []string{"Authorization: Bearer ks_write", "Authorization: Bearer ks_write"}, 400, "Authorization is given more than once; it must be as Authorization: Bearer ks_…", ""},
		{"no Bearer", "GET", "/api/v1/stock/7", []string{"Authorization: Basic c2hvcDpodW50ZXIy"}, 400, "Authorization has another scheme than Bearer", ""},
		{"no scheme", "GET", "/api/v1/stock/7", []string{"Authorization: ks_write"}, 400, "another scheme", ""},
		{"nothing", "GET", "/api/v1/stock/7", []string{"Authorization: "}, 400, "another scheme", ""},
		{"only Bearer", "GET", "/api/v1/stock/7", []string{"Authorization: Bearer"}, 400, "Authorization has no key", ""},
		{"two words", "GET", "/api/v1/stock/7", []string{"Authorization: Bearer ks_write ks_write"}, 400, "characters that no key", ""},
		{"not ASCII", "GET", "/api/v1/stock/7", []string{"Authorization: Bearer ks_wríte"}, 400, "characters that no key", ""},
		{"9 KB", "GET", "/api/v1/stock/7", []string{"Authorization: Bearer " + strings.Repeat("x", 9<<10)}, 400, "Authorization has more than 8192 bytes", ""},
		{"key in a parameter", "GET", "/api/v1/items?q=" + aKey, nil, 400, "URL must have no key in it; it belongs in the header Authorization, and this one should be revoked", ""},
		{"key in a parameter in other words", "GET", "/api/v1/items?q=%6bs_" + aKey[3:], nil, 400, "URL must have no key", ""},
		{"key as a parameter", "GET", "/api/v1/items?" + aKey, nil, 400, "URL must have no key", ""},
		{"key in the path", "GET", "/api/v1/items/" + aKey, nil, 400, `"instance":"/api/v1/items/***"`, ""},
		{"api_key", "GET", "/api/v1/items?api_key=x", nil, 400, "URL must have no key", ""},
		{"access_token", "GET", "/api/v1/items?Access_Token=x", nil, 400, "URL must have no key", ""},
		{"key and a good header", "POST", "/api/v1/items?key=x", []string{"Authorization: Bearer ks_write"}, 400, "URL must have no key", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answer, text := s.ask(c.method, c.path, c.header...)
			if answer.StatusCode != c.status || !strings.Contains(text, c.says) || answer.Header.Get("WWW-Authenticate") != c.asks {
				t.Errorf("%s %q %s", answer.Status, answer.Header.Get("WWW-Authenticate"), text)
			}
			if answer.Header.Get("Cache-Control") != "no-store" || answer.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("headers %v", answer.Header)
			}
			if retry := answer.Header.Get("Retry-After"); (retry == "1") != (c.status == 503) {
				t.Errorf("Retry-After %q", retry)
			}
			if strings.Contains(text, aKey[20:]) || strings.Contains(text, "hunter") {
				t.Errorf("the secret is in the answer: %s", text)
			}
		})
	}
}

func TestWhatIsGoodIsLetIn(t *testing.T) {
	t.Parallel()
	s := serveAccess(t, Access{Keys: scopes{}, Tokens: tokens{}})
	for _, credential := range []string{"Bearer ks_read", "bearer ks_admin", "BEARER good"} {
		if answer, text := s.ask("GET", "/api/v1/stock/7", "Authorization: "+credential); answer.StatusCode != stdhttp.StatusOK || answer.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s %v %s", credential, answer.Status, answer.Header, text)
		}
	}
	if answer, _ := s.ask("GET", "/api/v1/stock/7?"); answer.StatusCode != stdhttp.StatusOK || answer.Header.Get("Cache-Control") != "" {
		t.Errorf("without one: %s %v", answer.Status, answer.Header)
	}
}

func TestHeadersOf64KBAreRefused(t *testing.T) {
	t.Parallel()
	s := serveAccess(t, Access{Keys: scopes{}})
	if answer, text := s.ask("GET", "/api/v1/stock/7", "Authorization: Bearer "+strings.Repeat("x", 64<<10)); answer.StatusCode != stdhttp.StatusRequestHeaderFieldsTooLarge && answer.StatusCode != stdhttp.StatusBadRequest {
		t.Errorf("%s %s", answer.Status, text)
	}
}

func TestAuthenticationsAreCountedByOutcome(t *testing.T) {
	t.Parallel()
	s := serveAccess(t, Access{Keys: scopes{}, Tokens: tokens{}})
	for _, header := range []string{"", "Authorization: Bearer ks_read", "Authorization: Bearer good", "Authorization: Bearer bad", "Authorization: Bearer who", "Authorization: Basic x"} {
		s.ask("GET", "/api/v1/stock/7", header)
	}
	s.ask("DELETE", "/api/v1/items/7")
	s.ask("DELETE", "/api/v1/items/7", "Authorization: Bearer good")
	recorder := httptest.NewRecorder()
	s.metrics.ServeHTTP(recorder, httptest.NewRequest(stdhttp.MethodGet, "/metrics", nil))
	var got []string
	for line := range strings.Lines(recorder.Body.String()) {
		if after, found := strings.CutPrefix(line, "gateway_authentications_total{"); found {
			_, outcome, _ := strings.Cut(after, `outcome="`)
			outcome, _, _ = strings.Cut(outcome, `"`)
			got = append(got, outcome+line[strings.LastIndexByte(line, ' '):len(line)-1])
		}
	}
	if want := "denied 1, key 1, malformed 1, missing 1, refused 1, token 2, undecided 1"; strings.Join(got, ", ") != want {
		t.Errorf("counted %v, want %s", got, want)
	}
}

func TestEveryAnswerProtectsBrowsers(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s served) {
		for _, path := range []string{"/api/v1/stock/7", "/api/v1/stock/10", "/nowhere", "/api/v1/items?key=x", "/docs", "/openapi.json"} {
			answer, _ := s.ask("GET", path)
			policy := "default-src 'none'; frame-ancestors 'none'"
			if path == "/docs" {
				policy = answer.Header.Get("Content-Security-Policy")
				if !strings.HasPrefix(policy, "default-src 'self'; style-src 'sha256-") || !strings.HasSuffix(policy, "'; frame-ancestors 'none'") {
					t.Errorf("the page has the policy %s", policy)
				}
			}
			secure := ""
			if strings.HasPrefix(s.url, "https") {
				secure = "max-age=31536000"
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
				"Referrer-Policy": "no-referrer", "Strict-Transport-Security": secure, "Access-Control-Allow-Origin": "", "Vary": "",
			} {
				if got := answer.Header.Values(name); strings.Join(got, "|") != want {
					t.Errorf("%s: %s is %q, want %q", path, name, got, want)
				}
			}
		}
	})
}

func TestPagesOfListedOriginsMayAsk(t *testing.T) {
	t.Parallel()
	const page = "https://shop.example.com"
	s := serveAccess(t, Access{Keys: scopes{}, Origins: []string{"http://localhost:3000", page}})
	preflight := []string{"Origin: " + page, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,idempotency-key"}
	answer, text := s.ask("OPTIONS", "/api/v1/items", preflight...)
	if answer.StatusCode != stdhttp.StatusNoContent || text != "" {
		t.Errorf("the preflight is answered %s %s", answer.Status, text)
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": page, "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE", "Access-Control-Max-Age": "600",
		"Access-Control-Allow-Headers": corsSent, "Vary": "Origin", "Access-Control-Allow-Credentials": "",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, path := range []string{"/api/v1/stock/7", "/api/v1/stock/10", "/api/v1/items?key=x"} { // a page reads problems, too
		answer, _ := s.ask("GET", path, "Origin: "+page)
		if answer.Header.Get("Access-Control-Allow-Origin") != page || !strings.Contains(answer.Header.Get("Access-Control-Expose-Headers"), "ETag") || answer.Header.Get("Vary") != "Origin" {
			t.Errorf("%s has %v", path, answer.Header)
		}
	}
	for _, other := range []string{"https://shop.example.com.evil.example", "https://SHOP.example.com", "http://shop.example.com", "null", "*"} {
		answer, text := s.ask("OPTIONS", "/api/v1/items", "Origin: "+other, "Access-Control-Request-Method: POST")
		if answer.StatusCode != stdhttp.StatusForbidden || answer.Header.Get("Access-Control-Allow-Origin") != "" || !strings.Contains(text, "those that may are listed by -cors-origins") {
			t.Errorf("%s: %s %v %s", other, answer.Status, answer.Header, text)
		}
		if answer, _ := s.ask("GET", "/api/v1/stock/7", "Origin: "+other); answer.StatusCode != stdhttp.StatusOK || answer.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s reads %v", other, answer.Header)
		}
	}
	if answer, _ := s.ask("OPTIONS", "/api/v1/items", "Origin: "+page); answer.StatusCode != stdhttp.StatusMethodNotAllowed {
		t.Errorf("OPTIONS that is no preflight: %s", answer.Status)
	}
}

func TestABrowserMayWatchFromAListedOrigin(t *testing.T) {
	t.Parallel()
	s := serveAccess(t, Access{Keys: scopes{}, Origins: []string{"https://shop.example.com"}})
	response := s.get("/api/v1/stock/7/watch", "Origin: https://shop.example.com")
	if got := response.Header.Get("Access-Control-Allow-Origin"); got != "https://shop.example.com" {
		t.Errorf("%v", response.Header)
	}
	block(t, bufio.NewReader(response.Body))
}

func TestOriginsAreExact(t *testing.T) {
	t.Parallel()
	if err := CheckOrigins([]string{"https://shop.example.com", "http://localhost:3000", "http://[::1]:3000"}); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"*", "", "null", "https://*.example.com", "https://shop.example.com/", "shop.example.com", "https://Shop.example.com", " https://shop.example.com", "https://a@shop.example.com", "ftp://shop.example.com", "https://shop.example.com?x"} {
		if err := CheckOrigins([]string{wrong}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("cors-origins has %q; it must be as https://shop.example.com", wrong)) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// keyed remembers the idempotency keys that come.
type keyed struct {
	catalogue
	keys chan string
}

func (k keyed) Delete(_ context.Context, key string, _, _ int64) error {
	k.keys <- key
	return errors.New("enough")
}

func TestCallersHaveIdempotencyKeysOfTheirOwn(t *testing.T) {
	t.Parallel()
	items := keyed{keys: make(chan string, 1)}
	s := serveAccess(t, Access{Keys: admins{}}, func(shop *domain.Shop) { shop.Items = items })
	seen := map[string]string{}
	for _, name := range []string{"ann", "bob", "ann"} {
		answer, _ := s.ask("DELETE", "/api/v1/items/7", "Authorization: Bearer ks_"+name, "Idempotency-Key: "+strings.Repeat("x", 255))
		if got := answer.Header.Get("Idempotency-Key"); got != strings.Repeat("x", 255) {
			t.Errorf("the key came back as %s", got)
		}
		key := <-items.keys
		if before, again := seen[name]; again && before != key {
			t.Errorf("a repetition has the key %s, and the first had %s", key, before)
		}
		if seen[name] = key; len(key) != 64 {
			t.Errorf("the key is %s", key)
		}
	}
	if seen["ann"] == seen["bob"] {
		t.Errorf("two callers have one key")
	}
}

// admins are keys of whoever they name.
type admins struct{ scopes }

func (admins) Caller(key string) (domain.Caller, error) {
	return domain.Caller{ID: "key/" + key, Scope: domain.Admin}, nil
}

// FuzzAuthorization looks for headers that are read as what they are not.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"", "Bearer ks_x", "bearer  x", "Basic eA==", "Bearer", "Bearer x y", "Bearer \x00", "Bearer é", "Bearer " + strings.Repeat("x", maxCredential)} {
		f.Add(seed, 1)
	}
	f.Fuzz(func(t *testing.T, header string, times int) {
		headers := slices.Repeat([]string{header}, max(1, times%4))
		credential, err := bearer(headers)
		if err != nil {
			if fault.CodeOf(err) != fault.InvalidArgument || strings.Contains(err.Error(), "\x00") {
				t.Errorf("%q is refused with %v", headers, err)
			}
			return
		}
		scheme, rest, _ := strings.Cut(header, " ")
		if len(headers) != 1 || !strings.EqualFold(scheme, "bearer") || rest != credential || credential == "" || len(header) > maxCredential || strings.ContainsAny(credential, " \t\r\n\x00,\"") {
			t.Errorf("%q is read as %q", headers, credential)
		}
	})
}

func TestACallerIsTheActorUnlessItNamesOne(t *testing.T) {
	t.Parallel()
	made := adjusted{actors: make(chan string, 1)}
	s := serveAccess(t, Access{Keys: admins{}}, func(shop *domain.Shop) { shop.Stocks = made })
	for body, want := range map[string]string{`{"delta":1,"reason":"received"}`: "key/ks_ann", `{"delta":1,"reason":"received","actor":"Bob"}`: "Bob"} {
		request, err := stdhttp.NewRequestWithContext(t.Context(), "POST", s.url+"/api/v1/stock/7/movements", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer ks_ann")
		request.Header.Set("Content-Type", "application/json")
		answer, err := s.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		select {
		case got := <-made.actors:
			if got != want {
				t.Errorf("the actor is %s, want %s", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing was adjusted: %s", answer.Status)
		}
	}
}

// adjusted remembers who adjusts.
type adjusted struct {
	domain.Stocks
	actors chan string
}

func (a adjusted) Adjust(_ context.Context, adjustment domain.Adjustment) (domain.Movement, domain.Stock, error) {
	a.actors <- adjustment.Actor
	return domain.Movement{}, domain.Stock{}, errors.New("enough")
}
