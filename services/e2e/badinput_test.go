package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestBadInputIsAnsweredWithWhatIsWrongAndWhatIsAllowed(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	s.send("POST", "/api/v1/items", `{"title":"taken","sku":"TAKEN","handle":"h","options":{"Size":"S"}}`).want(t, http.StatusCreated, nil)
	s.receive(1024, 1_000_000_000) // together with the demo's 100
	const items, stock, movements, imports = "/api/v1/items", "/api/v1/stock/1024", "/api/v1/stock/1024/movements", "/api/v1/imports"
	long := strings.Repeat("ü", 256)
	cases := []struct {
		name, method, path, body string
		header                   string
		status                   int
		code, field, reason      string
	}{
		{"unknown id", "GET", items + "/77", "", "", 404, "not_found", "", "there is no item 77"},
		{"unknown id to change", "PATCH", items + "/77", `{"title":"x"}`, "", 404, "not_found", "", "there is no item 77"},
		{"malformed id", "GET", items + "/abc", "", "", 400, "invalid_argument", "id", `must be a positive integer, not "abc"`},
		{"negative id", "GET", items + "/-1", "", "", 400, "invalid_argument", "id", `must be a positive integer, not "-1"`},
		{"id beyond 64 bits", "GET", items + "/99999999999999999999", "", "", 400, "invalid_argument", "id", `must be a positive integer, not "99999999999999999999"`},
		{"tutorial's id 0", "GET", "/api/item?id=0", "", "", 400, "invalid_argument", "id", `must be a positive integer, not "0"`},
		{"tutorial's id", "GET", "/api/item?id=x", "", "", 400, "invalid_argument", "id", `must be a positive integer, not "x"`},
		{"float money", "POST", items, `{"title":"x","price":{"amount":19.99,"currency":"EUR"}}`, "", 400, "invalid_argument", "price.amount", "must be an integer, without fraction or exponent, of at most 64 bits"},
		{"money as text", "POST", items, `{"title":"x","price":{"amount":"1999","currency":"EUR"}}`, "", 400, "invalid_argument", "price.amount", "must be an integer, without fraction or exponent, of at most 64 bits"},
		{"negative money", "POST", items, `{"title":"x","price":{"amount":-1,"currency":"EUR"}}`, "", 400, "invalid_argument", "price.amount", "must be 0 to 1000000000000"},
		{"unknown currency", "POST", items, `{"title":"x","price":{"amount":1,"currency":"XYZ"}}`, "", 400, "invalid_argument", "price.currency", `must be an ISO 4217 code such as EUR, not "XYZ"`},
		{"no title", "POST", items, `{"vendor":"V"}`, "", 400, "invalid_argument", "title", "must not be empty"},
		{"title over its limit", "POST", items, `{"title":"` + long + `"}`, "", 400, "invalid_argument", "title", "must have at most 255 characters, not 256"},
		{"unknown status", "POST", items, `{"title":"x","status":"sold"}`, "", 400, "invalid_argument", "status", "must be draft, active or archived"},
		{"image that is no URL", "POST", items, `{"title":"x","images":["javascript:alert(1)"]}`, "", 400, "invalid_argument", "images[0]", "must be an http or https URL"},
		{"four options", "POST", items, `{"title":"x","options":{"a":"1","b":"2","c":"3","d":"4"}}`, "", 400, "invalid_argument", "options", "must have at most 3 entries, not 4"},
		{"options as a list", "POST", items, `{"title":"x","options":["S"]}`, "", 400, "invalid_argument", "options", `must be an object of strings such as {"Size":"S"}`},
		{"SKU taken", "POST", items, `{"title":"x","sku":"TAKEN"}`, "", 409, "conflict", "sku", `"TAKEN" is taken by item 1025`},
		{"variant taken", "POST", items, `{"title":"x","sku":"y","handle":"h","options":{"Size":"S"}}`, "", 409, "conflict", "options", `are those of item 1025, which has the same handle "h"`},
		{"broken JSON", "POST", items, `{"title":`, "", 400, "invalid_argument", "title", "is no valid JSON at byte 9: unexpected EOF"},
		{"text behind JSON", "POST", items, `{"title":"x"} y`, "", 400, "invalid_argument", "body", "is no valid JSON at byte 14: invalid character 'y' after top-level value"},
		{"empty body", "POST", items, ``, "", 400, "invalid_argument", "body", "is empty; it must be a JSON object"},
		{"JSON list", "POST", items, `[]`, "", 400, "invalid_argument", "body", "must be an object"},
		{"unknown field", "POST", items, `{"title":"x","colour":"red"}`, "", 400, "invalid_argument", "colour", "is no field of this object"},
		{"unknown field inside", "POST", items, `{"title":"x","price":{"amount":1,"currency":"EUR","net":1}}`, "", 400, "invalid_argument", "price.net", "is no field of this object"},
		{"field twice", "POST", items, `{"title":"x","title":"y"}`, "", 400, "invalid_argument", "title", "is no valid JSON at byte 13: duplicate object member name"},
		{"wrong type of field", "POST", items, `{"title":"x","tags":"a"}`, "", 400, "invalid_argument", "tags", "must be a list"},
		{"invalid UTF-8", "POST", items, "{\"title\":\"\xff\"}", "", 400, "invalid_argument", "title", "is no valid JSON at byte 10: invalid UTF-8"},
		{"NUL in text", "POST", items, `{"title":"a\u0000b"}`, "", 400, "invalid_argument", "title", "must not contain the character U+0000"},
		{"wrong content type", "POST", items, `title=x`, "Content-Type: application/x-www-form-urlencoded", 415, "unsupported_media_type", "", `the Content-Type is "application/x-www-form-urlencoded"; it must be application/json`},
		{"wrong charset", "POST", items, `{}`, "Content-Type: application/json; charset=latin1", 415, "unsupported_media_type", "", `the charset is "latin1"; it must be utf-8`},
		{"body over the limit", "POST", items, `{"title":"` + strings.Repeat("a", 1<<20) + `"}`, "", 413, "body_too_large", "", "the body has more than 1048576 bytes"},
		{"empty If-Match", "DELETE", items + "/1024", "", "If-Match: ", 400, "invalid_argument", "If-Match", `must be one ETag of the item as it was given, such as "3", or *`},
		{"escaped If-Match", "DELETE", items + "/1024", "", `If-Match: "\x31"`, 400, "invalid_argument", "If-Match", `must be one ETag of the item as it was given, such as "3", or *`},
		{"malformed If-Match", "PATCH", items + "/1024", `{"title":"x"}`, "If-Match: W/3", 400, "invalid_argument", "If-Match", `must be one ETag of the item as it was given, such as "3", or *`},
		{"made-up cursor", "GET", items + "?cursor=AAAA", "", "", 400, "invalid_argument", "cursor", "is not a cursor of this list; take next_cursor from the page before, with the same query"},
		{"limit over the most", "GET", items + "?limit=101", "", "", 400, "invalid_argument", "limit", `must be an integer from 1 to 100, not "101"`},
		{"limit of nothing", "GET", items + "?limit=0", "", "", 400, "invalid_argument", "limit", `must be an integer from 1 to 100, not "0"`},
		{"unknown parameter", "GET", items + "?page=2", "", "", 400, "invalid_argument", "page", "is no parameter of this path; it takes limit, cursor, q"},
		{"query without a word", "GET", items + "?q=%21%22", "", "", 400, "invalid_argument", "q", "must contain a letter or a digit"},
		{"query in invalid UTF-8", "GET", items + "?q=%ff", "", "", 400, "invalid_argument", "q", "must be valid UTF-8"},
		{"query over its limit", "GET", items + "?q=" + strings.Repeat("a", 201), "", "", 400, "invalid_argument", "q", "must have at most 200 characters, not 201"},
		{"movement of nothing", "POST", movements, `{"delta":0,"reason":"counted"}`, "", 400, "invalid_argument", "delta", "must be 1 to 1000000000, or -1 to -1000000000"},
		{"huge movement", "POST", movements, `{"delta":1000000001,"reason":"received"}`, "", 400, "invalid_argument", "delta", "must be 1 to 1000000000, or -1 to -1000000000"},
		{"negative receipt", "POST", movements, `{"delta":-1,"reason":"received"}`, "", 400, "invalid_argument", "delta", "must be positive when units are received"},
		{"positive damage", "POST", movements, `{"delta":1,"reason":"damaged"}`, "", 400, "invalid_argument", "delta", "must be negative when units are damaged"},
		{"unknown reason", "POST", movements, `{"delta":1,"reason":"found"}`, "", 400, "invalid_argument", "reason", "must be received, returned, damaged, counted or sold"},
		{"floor broken", "POST", movements, `{"delta":-1000000000,"reason":"sold","location":"shelf"}`, "", 409, "conflict", "", "0 available, a change of -1000000000 would leave -1000000000, and the policy deny allows no less than 0"},
		{"movement of an unknown item", "POST", "/api/v1/stock/77/movements", `{"delta":1,"reason":"received"}`, "", 404, "not_found", "", "there is no item 77"},
		{"stock of an unknown item", "GET", "/api/v1/stock/77", "", "", 404, "not_found", "", "there is no item 77"},
		{"ledger of an unknown item", "GET", "/api/v1/stock/77/movements", "", "", 404, "not_found", "", "there is no item 77"},
		{"key that is too long", "POST", movements, `{"delta":1,"reason":"received"}`, "Idempotency-Key: " + strings.Repeat("k", 256), 400, "invalid_argument", "Idempotency-Key", "must be 1 to 255 printable ASCII characters"},
		{"overflowing movement", "POST", movements, `{"delta":9223372036854775808,"reason":"received"}`, "", 400, "invalid_argument", "delta", "must be an integer, without fraction or exponent, of at most 64 bits"},
		{"actor over the limit", "POST", movements, `{"delta":1,"reason":"received","actor":"` + long + `"}`, "", 400, "invalid_argument", "actor", "must be valid UTF-8 of at most 255 characters"},
		{"empty key", "POST", movements, `{"delta":1,"reason":"received"}`, "Idempotency-Key: ", 400, "invalid_argument", "Idempotency-Key", "must be 1 to 255 printable ASCII characters"},
		{"key that is not ASCII", "POST", movements, `{"delta":1,"reason":"received"}`, "Idempotency-Key: schlüssel", 400, "invalid_argument", "Idempotency-Key", "must be 1 to 255 printable ASCII characters"},
		{"count of what", "PUT", stock, `{"version":2}`, asJSON, 400, "invalid_argument", "on_hand", "must be given"},
		{"count of null", "PUT", stock, `{"on_hand":null,"version":2}`, asJSON, 400, "invalid_argument", "on_hand", "must be given"},
		{"count without a version", "PUT", stock, `{"on_hand":1}`, asJSON, 400, "invalid_argument", "version", "must be given, or If-Match: that of the location, or 0 where there never was any stock"},
		{"negative count", "PUT", stock, `{"on_hand":-1,"version":2}`, asJSON, 400, "invalid_argument", "on_hand", "must be 0 to 1000000000"},
		{"huge count", "PUT", stock, `{"on_hand":1000000001,"version":2}`, asJSON, 400, "invalid_argument", "on_hand", "must be 0 to 1000000000"},
		{"overflowing count", "PUT", stock, `{"on_hand":9223372036854775808,"version":2}`, asJSON, 400, "invalid_argument", "on_hand", "must be an integer, without fraction or exponent, of at most 64 bits"},
		{"half a unit", "PUT", stock, `{"on_hand":0.5,"version":2}`, asJSON, 400, "invalid_argument", "on_hand", "must be an integer, without fraction or exponent, of at most 64 bits"},
		{"negative version", "PUT", stock, `{"on_hand":1,"version":-1}`, asJSON, 400, "invalid_argument", "version", "must be that of the location, or 0 where there never was any stock"},
		{"count with a reason", "PUT", stock, `{"on_hand":1,"version":2,"reason":"counted"}`, asJSON, 400, "invalid_argument", "reason", "is no field of this object"},
		{"count at a long location", "PUT", stock, `{"on_hand":1,"version":0,"location":"` + long + `"}`, asJSON, 400, "invalid_argument", "location", "must be valid UTF-8 of at most 255 characters"},
		{"count of another version", "PUT", stock, `{"on_hand":1,"version":1}`, asJSON, 412, "version_mismatch", "", "the stock of item 1024 at main has version 2, not 1: read it again"},
		{"count of an unknown item", "PUT", "/api/v1/stock/77", `{"on_hand":1,"version":0}`, asJSON, 404, "not_found", "", "there is no item 77"},
		{"count of no item", "PUT", "/api/v1/stock/0", `{"on_hand":1,"version":0}`, asJSON, 400, "invalid_argument", "item_id", `must be a positive integer, not "0"`},
		{"count without a type", "PUT", stock, `{"on_hand":1,"version":2}`, "", 415, "unsupported_media_type", "", `the Content-Type is ""; it must be application/json`},
		{"unknown policy", "PATCH", stock, `{"policy":"maybe"}`, "", 400, "invalid_argument", "policy", "must be deny or backorder"},
		{"no policy", "PATCH", stock, `{"policy":null}`, "", 400, "invalid_argument", "policy", "must be deny or backorder"},
		{"negative backorder limit", "PATCH", stock, `{"backorder_limit":-1}`, "", 400, "invalid_argument", "backorder_limit", "must be 0 to 1000000000, or null"},
		{"huge backorder limit", "PATCH", stock, `{"backorder_limit":1000000001}`, "", 400, "invalid_argument", "backorder_limit", "must be 0 to 1000000000, or null"},
		{"overflowing backorder limit", "PATCH", stock, `{"backorder_limit":9223372036854775808}`, "", 400, "invalid_argument", "backorder_limit", "must be an integer, without fraction or exponent, of at most 64 bits"},
		{"negative threshold", "PATCH", stock, `{"low_stock_threshold":-9223372036854775808}`, "", 400, "invalid_argument", "low_stock_threshold", "must be 0 to 1000000000, or null"},
		{"huge threshold", "PATCH", stock, `{"low_stock_threshold":1000000001}`, "", 400, "invalid_argument", "low_stock_threshold", "must be 0 to 1000000000, or null"},
		{"threshold as text", "PATCH", stock, `{"low_stock_threshold":"5"}`, "", 400, "invalid_argument", "low_stock_threshold", "must be an integer, without fraction or exponent, of at most 64 bits"},
		{"no default location", "PATCH", stock, `{"default_location":null}`, "", 400, "invalid_argument", "default_location", "must not be empty"},
		{"empty default location", "PATCH", stock, `{"default_location":""}`, "", 400, "invalid_argument", "default_location", "must not be empty"},
		{"long default location", "PATCH", stock, `{"default_location":"` + long + `"}`, "", 400, "invalid_argument", "default_location", "must be valid UTF-8 of at most 255 characters"},
		{"unknown rule", "PATCH", stock, `{"on_hand":5}`, "", 400, "invalid_argument", "on_hand", "is no field of this object"},
		{"rules of an unknown item", "PATCH", "/api/v1/stock/77", `{"policy":"deny"}`, "", 404, "not_found", "", "there is no item 77"},
		{"strange threshold switch", "GET", "/api/v1/stock?below_threshold=1", "", "", 400, "invalid_argument", "below_threshold", `must be true or false, not "1"`},
		{"empty threshold switch", "GET", "/api/v1/stock?below_threshold=", "", "", 400, "invalid_argument", "below_threshold", `must be true or false, not ""`},
		{"made-up cursor of stock", "GET", "/api/v1/stock?cursor=AAAA", "", "", 400, "invalid_argument", "cursor", "is not a cursor of this list; take next_cursor from the page before, with the same query"},
		{"stock over the most", "GET", "/api/v1/stock?limit=101", "", "", 400, "invalid_argument", "limit", `must be an integer from 1 to 100, not "101"`},
		{"unknown parameter of stock", "GET", "/api/v1/stock?low=true", "", "", 400, "invalid_argument", "low", "is no parameter of this path; it takes limit, cursor, below_threshold"},
		{"import without CSV", "POST", imports, `{}`, "Content-Type: application/json", 415, "unsupported_media_type", "", `the Content-Type is "application/json"; it must be text/csv`},
		{"import of nothing", "POST", imports, ``, "Content-Type: text/csv", 400, "invalid_argument", "body", "is empty; it must be a CSV file with a header"},
		{"import without columns", "POST", imports, "Handle,Title\nh,t\n", "Content-Type: text/csv", 400, "invalid_argument", "Variant Price", "is missing; the header must have the columns Handle, Title and Variant Price"},
		{"import with a broken header", "POST", imports, "Handle,\"Title\nh,t\n", "Content-Type: text/csv", 400, "invalid_argument", "body", "is no CSV file: line 2: extraneous or missing \" in quoted-field"},
		{"import with a strange switch", "POST", imports + "?set_stock=1", "", "Content-Type: text/csv", 400, "invalid_argument", "set_stock", `must be true or false, not "1"`},
		{"unknown path", "GET", "/api/v2/items", "", "", 404, "not_found", "", "there is nothing at /api/v2/items"},
		{"unknown method", "PUT", items + "/1024", "", "", 405, "method_not_allowed", "", "PUT is not possible at /api/v1/items/1024"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var header []string
			if c.header != "" {
				header = []string{c.header}
			}
			var got problem
			answered := s.send(c.method, c.path, c.body, header...).want(t, c.status, &got)
			if media := answered.header.Get("Content-Type"); media != "application/problem+json" {
				t.Errorf("Content-Type is %s", media)
			}
			path, _, _ := strings.Cut(c.path, "?")
			if got.Code != c.code || got.Status != c.status || got.Instance != path || got.Type != "urn:kiteshop:problem:"+c.code {
				t.Errorf("problem %+v, want code %s", got, c.code)
			}
			if c.field == "" {
				if got.Detail != c.reason || got.Errors != nil {
					t.Errorf("detail %q with %v, want %q", got.Detail, got.Errors, c.reason)
				}
			} else if len(got.Errors) != 1 || got.Errors[0] != (field{c.field, c.reason}) {
				t.Errorf("errors %q, want %s %s", got.Errors, c.field, c.reason)
			}
		})
	}
	t.Run("nothing was written", func(t *testing.T) {
		var all page
		s.send("GET", items, "").want(t, http.StatusOK, &all)
		if len(all.Items) != 2 || all.Items[0].Version != 1 || all.Items[1].Version != 1 {
			t.Errorf("the catalogue is %+v", all.Items)
		}
		var left ruled
		s.send("GET", stock, "").want(t, http.StatusOK, &left)
		if left.OnHand != 1_000_000_100 || left.Version != 2 || len(left.Locations) != 1 ||
			left.Policy != "deny" || left.BackorderLimit != nil || left.DefaultLocation != "main" || left.LowStockThreshold != nil {
			t.Errorf("the stock is %+v", left)
		}
	})
}

func TestAllThatIsWrongIsListedAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	var got problem
	s.send("POST", "/api/v1/items", `{"title":" ","status":"x","price":{"amount":-1,"currency":"?"}}`).want(t, http.StatusBadRequest, &got)
	var fields []string
	for _, e := range got.Errors {
		fields = append(fields, e.Field)
	}
	if fmt.Sprint(fields) != "[title price.amount price.currency status]" {
		t.Errorf("fields %v", fields)
	}
}

func TestMethodNotAllowedNamesTheMethodsThatAre(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	if allow := s.send("PUT", "/api/v1/items/1024", "").want(t, http.StatusMethodNotAllowed, nil).header.Get("Allow"); allow != "GET, PATCH, DELETE" {
		t.Errorf("Allow is %q", allow)
	}
	if allow := s.send("DELETE", "/api/v1/stock/1024", "").want(t, http.StatusMethodNotAllowed, nil).header.Get("Allow"); allow != "GET, PUT, PATCH" {
		t.Errorf("Allow is %q", allow)
	}
	if body := s.send("HEAD", "/api/v1/items/1024", "").want(t, http.StatusOK, nil).body; body != "" {
		t.Errorf("HEAD was answered with %q", body)
	}
}
