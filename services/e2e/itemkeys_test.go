package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/shop"
)

func TestTheSameKeyHasOneEffectOnItemsAlsoAfterARestartAndAtAnotherReplica(t *testing.T) {
	t.Parallel()
	const items, made = "/api/v1/items", "/api/v1/items/1025"
	requests := [][]string{ // method, path, body, If-Match
		{"POST", items, `{"title":"Hat","sku":"HAT","options":{"Size":"S"},"price":{"amount":1999,"currency":"EUR"}}`, "*"},
		{"PATCH", made, `{"title":"Cap","price":null}`, `"1"`},
		{"DELETE", made, "", `"2"`},
	}
	do := func(s running, request []string) string {
		got := s.send(request[0], request[1], request[2], "Idempotency-Key: order-7", "If-Match: "+request[3])
		h := got.header
		return fmt.Sprint(got.status, " ", h.Get("Location"), h.Get("ETag"), " ", h.Get("Idempotency-Key"), " ", got.body)
	}
	onEach := func(t *testing.T, cfg shop.Config) {
		var answers []string
		again := func(t *testing.T, s running) {
			t.Helper()
			for i, want := range answers {
				if got := do(s, requests[i]); got != want {
					t.Errorf("%s is answered with\n%s, want\n%s", requests[i][0], got, want)
				}
			}
			s.send("GET", made, "").want(t, http.StatusNotFound, nil)
		}
		t.Run("before", func(t *testing.T) {
			s := open(t, cfg)
			for i, want := range []string{`201 /api/v1/items/1025"1" order-7 {"id":1025,`, `200 "2" order-7 {"id":1025,`, `204  order-7 `} {
				answers = append(answers, do(s, requests[i]))
				if !strings.HasPrefix(answers[i], want) {
					t.Fatalf("%s is answered with %s, want %s", requests[i][0], answers[i], want)
				}
				if i == 0 {
					s.receive(1025, 7) // an answer to the same key does not show it
				}
			}
			again(t, s)
			if cfg.Item.Store.Store != "" {
				again(t, open(t, cfg))
			}
		})
		again(t, open(t, cfg))
	}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		onEach(t, config(t.TempDir()))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		onEach(t, config(sqldbtest.StartPostgres(t).Database()))
	})
}

func TestAnItemsKeyIsRefusedWithOtherParametersAndIsNotBurntByARefusal(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	const key = "Idempotency-Key: k"
	path := fmt.Sprintf("/api/v1/items/%d", s.create("Hat").ID)
	reused := func(method, path, body string, header ...string) {
		t.Helper()
		var refused problem
		s.send(method, path, body, append(header, key)...).want(t, http.StatusUnprocessableEntity, &refused)
		if refused.Code != "key_reused" {
			t.Errorf("code %s", refused.Code)
		}
	}
	s.send("PATCH", path, `{"title":"Cap"}`, key, `If-Match: "2"`).want(t, http.StatusPreconditionFailed, nil)
	s.send("PATCH", path, `{"title":"Cap"}`, key, `If-Match: "1"`).want(t, http.StatusOK, nil)
	reused("PATCH", path, `{"title":"Cap"}`)
	reused("PATCH", path, `{"title":"Beret"}`, `If-Match: "1"`)
	reused("PATCH", "/api/v1/items/1024", `{"title":"Cap"}`, `If-Match: "1"`)

	s.send("POST", "/api/v1/items", `{"title":""}`, key).want(t, http.StatusBadRequest, nil)
	s.send("POST", "/api/v1/items", `{"title":"Beret"}`, key).want(t, http.StatusCreated, nil)
	reused("POST", "/api/v1/items", `{"title":"Cap"}`)

	s.send("DELETE", path, "", key, `If-Match: "1"`).want(t, http.StatusPreconditionFailed, nil)
	s.send("DELETE", path, "", key).want(t, http.StatusNoContent, nil)
	reused("DELETE", "/api/v1/items/1024", "")
}

func TestAnItemsKeyIsPrintableASCIIOnceAndMadeWhereNoneIsGiven(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	for _, request := range [][3]string{
		{"POST", "/api/v1/items", `{"title":"Hat"}`},
		{"PATCH", "/api/v1/items/1024", `{"title":"Hat"}`},
		{"DELETE", "/api/v1/items/1024", ""},
	} {
		method, path, body := request[0], request[1], request[2]
		for reason, wrong := range map[string][][]string{
			"must be 1 to 255 printable ASCII characters": {{""}, {strings.Repeat("k", 256)}, {"schlüssel"}},
			"must be given once":                          {{"a", "b"}, {"a", "a"}},
		} {
			for _, keys := range wrong {
				var refused problem
				s.withValues(method, path, body, "Idempotency-Key", keys).want(t, http.StatusBadRequest, &refused)
				if len(refused.Errors) != 1 || refused.Errors[0] != (field{"Idempotency-Key", reason}) {
					t.Errorf("%s with the keys %q: %+v", method, keys, refused.Errors)
				}
			}
		}
		got := s.send(method, path, body)
		key, err := uuid.Parse(got.header.Get("Idempotency-Key"))
		if err != nil || key.Version() != 7 || got.status >= 300 {
			t.Errorf("%s without a key: status %d, key %s, %v", method, got.status, key, err)
		}
	}
}

func TestIfMatchIsGivenOnceWhateverItIsOf(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	for _, request := range [][3]string{
		{"PATCH", "/api/v1/items/1024", `{"title":"Hat"}`},
		{"DELETE", "/api/v1/items/1024", ""},
		{"PUT", "/api/v1/stock/1024", `{"on_hand":5,"version":1}`},
	} {
		method, path, body := request[0], request[1], request[2]
		for _, versions := range [][]string{{`"1"`, `"2"`}, {`"1"`, `"1"`}, {`"1"`, ""}} {
			var refused problem
			s.withValues(method, path, body, "If-Match", versions).want(t, http.StatusBadRequest, &refused)
			if len(refused.Errors) != 1 || refused.Errors[0] != (field{"If-Match", "must be given once"}) {
				t.Errorf("%s %s with If-Match %q: %+v", method, path, versions, refused.Errors)
			}
		}
	}
}

// withValues is send with a header as many times.
func (c client) withValues(method, path, body, name string, values []string) answer {
	c.t.Helper()
	request, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header = http.Header{"Content-Type": {"application/json"}, name: values}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

func TestFiftyEqualKeysAtTheSameTimeMakeOneItem(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, s running) {
		answers := make([]string, 50)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				got, err := s.try("POST", "/api/v1/items", strings.NewReader(`{"title":"Hat"}`), "Idempotency-Key: k")
				if err != nil || got.status != http.StatusCreated {
					t.Errorf("status %d, %v", got.status, err)
				}
				answers[i] = got.body
			})
		}
		all.Wait()
		for _, answer := range answers {
			if answer != answers[0] {
				t.Errorf("answers %s and %s", answers[0], answer)
			}
		}
		var got page
		s.send("GET", "/api/v1/items", "").want(t, http.StatusOK, &got)
		if len(got.Items) != 2 { // and the demo's
			t.Errorf("%d items", len(got.Items))
		}
	})
}

func TestAnItemServiceThatForgetsKeysWithinADayDoesNotStart(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	cfg.Item.Retention = 24*time.Hour - 1
	if _, err := shop.New(t.Context(), cfg); err == nil || err.Error() != "retention is 23h59m59.999999999s; it must be at least 24h0m0s" {
		t.Errorf("error %v", err)
	}
}
