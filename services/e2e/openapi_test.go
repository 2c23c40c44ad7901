package e2e

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// described is the document that a shop serves, with schemas to validate by.
type described struct {
	document map[string]any
	schemas  *jsonschema.Compiler
	// seen are the kinds of answers, success or problem, that came of each operation.
	seen map[string][]string
}

func (c client) describe() described {
	c.t.Helper()
	read, err := jsonschema.UnmarshalJSON(strings.NewReader(c.send("GET", "/openapi.json", "").want(c.t, http.StatusOK, nil).body))
	if err != nil {
		c.t.Fatal(err)
	}
	forbidUndocumented(read)
	schemas := jsonschema.NewCompiler()
	schemas.DefaultDraft(jsonschema.Draft2020)
	schemas.AssertFormat()
	if err := schemas.AddResource("openapi.json", read); err != nil {
		c.t.Fatal(err)
	}
	return described{read.(map[string]any), schemas, map[string][]string{}}
}

// forbidUndocumented makes schemas of objects refuse members that they do not
// name. In the document they take them, so that answers may grow.
func forbidUndocumented(node any) {
	switch node := node.(type) {
	case map[string]any:
		if node["type"] == "object" && node["properties"] != nil {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			forbidUndocumented(child)
		}
	case []any:
		for _, child := range node {
			forbidUndocumented(child)
		}
	}
}

// at returns what is at a path of the document, and where that really is when
// the path leads over a $ref.
func (d described) at(path ...string) (node map[string]any, pointer string) {
	node, pointer = d.document, "#"
	for _, part := range path {
		node, _ = node[part].(map[string]any)
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(part)
		if reference, ok := node["$ref"].(string); ok {
			node, pointer = d.at(strings.Split(strings.TrimPrefix(reference, "#/"), "/")...)
		}
	}
	return node, pointer
}

// operation returns the path of the document that a request is for.
func (d described) operation(path string) string {
	path, _, _ = strings.Cut(path, "?")
	given := strings.Split(path, "/")
	paths, _ := d.at("paths")
	for template := range paths {
		if slices.EqualFunc(strings.Split(template, "/"), given, func(part, text string) bool {
			return part == text || strings.HasPrefix(part, "{")
		}) {
			return template
		}
	}
	return ""
}

// validate checks a JSON text by the schema of a media type at pointer.
func (d described) validate(t *testing.T, content map[string]any, pointer, media, text string) {
	t.Helper()
	if content[media] == nil {
		t.Errorf("%s has no %s", pointer, media)
		return
	}
	if !strings.HasSuffix(media, "json") {
		return
	}
	schema, err := d.schemas.Compile("openapi.json" + pointer + "/" + strings.ReplaceAll(media, "/", "~1") + "/schema")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// check compares an answer with the document, and so the body of a request that was accepted.
func (d described) check(t *testing.T, method, path, body, media string, got answer) {
	t.Helper()
	template, verb, status := d.operation(path), strings.ToLower(method), strconv.Itoa(got.status)
	kind := "success"
	if got.status >= http.StatusBadRequest {
		kind = "problem"
	}
	d.seen[method+" "+template] = append(d.seen[method+" "+template], kind)

	response, _ := d.at("paths", template, verb, "responses", status)
	if response == nil {
		t.Fatalf("the document has no answer %s: %s", status, got.body)
	}
	headers, _ := d.at("paths", template, verb, "responses", status, "headers")
	known := []string{"Content-Type", "Content-Length", "Date", "Server", "X-Content-Type-Options", "Content-Security-Policy", "X-Frame-Options", "Referrer-Policy", "Cache-Control"}
	for name := range headers {
		known = append(known, http.CanonicalHeaderKey(name))
		header, _ := d.at("paths", template, verb, "responses", status, "headers", name)
		if header["required"] == true && got.header.Get(name) == "" {
			t.Errorf("the answer has no %s", name)
		}
	}
	for name := range got.header {
		if !slices.Contains(known, name) {
			t.Errorf("the answer has %s, which is not documented", name)
		}
	}
	if response["content"] != nil || got.body != "" {
		answered, _, err := mime.ParseMediaType(got.header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		content, pointer := d.at("paths", template, verb, "responses", status, "content")
		d.validate(t, content, pointer, answered, got.body)
	}
	if kind == "success" && body != "" {
		content, pointer := d.at("paths", template, verb, "requestBody", "content")
		d.validate(t, content, pointer, media, body)
	}
}

func TestAnswersAreAsOpenAPIDescribesThem(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	d := s.describe()
	const items, stock, movements, imports = "/api/v1/items", "/api/v1/stock/1024", "/api/v1/stock/1024/movements", "/api/v1/imports"
	const csv, merge = "Content-Type: text/csv", "Content-Type: application/merge-patch+json"
	sold, sent, back := s.reserve(1024, 1).ID, s.reserve(1024, 1).ID, s.reserve(1024, 1).ID
	s.step(sent, "commit")
	eventually(t, "somebody bought something", func() bool { return len(s.trends("?kind=bought")) == 1 })
	product := "Handle,Title,Option1 Name,Option1 Value,Variant Inventory Qty,Variant Price\nmug,Mug,Size,S,5,9.50\nmug,,Size,M,5,cheap\n"

	for _, request := range []struct {
		method, path, body, header string
		status                     int
	}{
		{"GET", "/openapi.json", "", "", 200},
		{"GET", "/openapi.json?v=3", "", "", 400},
		{"GET", "/docs", "", "", 200},
		{"GET", "/docs?page=1", "", "", 400},

		{"GET", "/api/item", "", "X-Request-Id: mine", 200},
		{"GET", "/api/item?id=1024", "", "Accept: text/plain", 200},
		{"GET", "/api/item?id=x", "", "", 400},
		{"GET", "/api/item?id=77", "", "", 404},

		{"POST", items, `{"title":"Hat"}`, "", 201},
		{"POST", items, `{"sku":"S-1","title":"Shirt","description":"Red.","handle":"shirt","options":{"Size":"S"},"vendor":"V","type":"T",` +
			`"tags":["a","b"],"price":{"amount":1999,"currency":"EUR"},"images":["https://example.com/1.jpg"],"status":"draft"}`, "Idempotency-Key: shirt", 201},
		{"POST", items, `{"title":"Shirt"}`, "Idempotency-Key: shirt", 422},
		{"POST", items, `{"title":"Nulls","sku":null,"description":null,"handle":null,"options":null,"vendor":null,"type":null,"tags":null,"price":null,"images":null}`, "", 201},
		{"POST", items, `{"title":" ","price":{"amount":-1,"currency":"EUR"}}`, "", 400},
		{"POST", items, `{"title":"x","sku":"S-1"}`, "", 409},
		{"POST", items, `{"title":"` + strings.Repeat("a", 1<<20) + `"}`, "", 413},
		{"POST", items, `title=x`, "Content-Type: text/plain", 415},
		{"GET", items + "?limit=2", "", "", 200},
		{"GET", items + "?q=shirt", "", "", 200},
		{"GET", items + "?limit=101", "", "", 400},
		{"GET", items + "/1026", "", "", 200},
		{"GET", items + "/x", "", "", 400},
		{"GET", items + "/77", "", "", 404},
		{"PATCH", items + "/1026", `{"vendor":null,"price":null,"status":"active"}`, merge, 200},
		{"PATCH", items + "/1026", `{"title":"x"}`, `If-Match: "9"`, 412},
		{"PATCH", items + "/1026", `{"status":"lost"}`, "", 400},
		{"PATCH", items + "/1025", `{"sku":"S-1"}`, "", 409},
		{"PATCH", items + "/77", `{"title":"x"}`, "", 404},
		{"DELETE", items + "/1025", "", `If-Match: "9"`, 412},
		{"DELETE", items + "/1025", "", "", 204},
		{"DELETE", items + "/77", "", "", 404},

		{"POST", imports + "?set_stock=true", product, csv, 200},
		{"POST", imports, "Handle\nmug\n", csv, 400},
		{"POST", imports, `{}`, "", 415},
		{"GET", "/api/v1/trending?kind=both&limit=5", "", "", 200},
		{"GET", "/api/v1/trending?kind=liked", "", "", 400},

		{"GET", "/api/v1/stock?limit=1", "", "", 200},
		{"GET", "/api/v1/stock?below_threshold=1", "", "", 400},
		{"GET", stock, "", "", 200},
		{"GET", "/api/v1/stock/77", "", "", 404},
		{"PUT", stock, `{"on_hand":7,"version":0,"location":"shelf","reference":"count","actor":"me"}`, asJSON, 200},
		{"PUT", stock, `{"on_hand":7,"version":9}`, asJSON, 412},
		{"PUT", stock, `{"version":9}`, asJSON, 400},
		{"PUT", "/api/v1/stock/77", `{"on_hand":7,"version":0}`, asJSON, 404},
		{"PATCH", stock, `{"policy":"backorder","backorder_limit":5,"low_stock_threshold":3}`, merge, 200},
		{"PATCH", stock, `{"policy":"deny","backorder_limit":null,"default_location":"main"}`, "", 200},
		{"PATCH", stock, `{"policy":"maybe"}`, "", 400},
		{"POST", movements, `{"delta":-1,"reason":"sold","reference":"order","location":"shelf","actor":"me"}`, "Idempotency-Key: sale", 201},
		{"POST", movements, `{"delta":-2,"reason":"sold"}`, "Idempotency-Key: sale", 422},
		{"POST", movements, `{"delta":-1000000,"reason":"sold"}`, "", 409},
		{"POST", movements, `{"delta":0,"reason":"sold"}`, "", 400},
		{"GET", stock + "/watch?cursor=x", "", "", 400},
		{"GET", "/api/v1/stock/77/watch", "", "Last-Event-ID: 3", 404},
		{"GET", movements + "?limit=1", "", "", 200},
		{"GET", movements + "?cursor=AAAA", "", "", 400},
		{"GET", "/api/v1/stock/77/movements", "", "", 404},

		{"POST", reservations, `{"lines":[{"item_id":1024,"quantity":1,"location":"shelf"}],"ttl_seconds":60,"reference":"cart"}`, "", 201},
		{"POST", reservations, `{"lines":[{"item_id":1024,"quantity":1}],"ttl_seconds":null}`, "", 201},
		{"POST", reservations, `{"lines":[{"item_id":1024,"quantity":1000000}]}`, "", 409},
		{"POST", reservations, `{"lines":[]}`, "", 400},
		{"GET", reservations + "?state=HELD&item_id=1024&reference=cart&limit=1", "", "", 200},
		{"GET", reservations + "?state=LOST", "", "", 400},
		{"GET", reservations + "/" + sold, "", "", 200},
		{"GET", reservations + "/none", "", "", 404},
		{"POST", reservations + "/" + sold + "/extend", `{"ttl_seconds":60}`, "", 200},
		{"POST", reservations + "/" + sold + "/extend", `{"ttl_seconds":0}`, "", 400},
		{"POST", reservations + "/" + sold + "/commit", `{}`, "", 200},
		{"POST", reservations + "/" + sold + "/commit", `{"actor":"me"}`, "", 400},
		{"POST", reservations + "/" + sent + "/fulfil", `{"actor":"me"}`, "", 200},
		{"POST", reservations + "/" + back + "/fulfil", "", "", 409},
		{"POST", reservations + "/" + back + "/release", "", "", 200},
		{"POST", reservations + "/none/release", "", "", 404},
	} {
		t.Run(fmt.Sprintf("%s %.60s %.40s", request.method, request.path, request.body), func(t *testing.T) {
			header, media := []string{}, "application/json"
			if request.header != "" {
				header = append(header, request.header)
				if given, ok := strings.CutPrefix(request.header, "Content-Type: "); ok {
					media = given
				}
			}
			got := s.send(request.method, request.path, request.body, header...).want(t, request.status, nil)
			d.check(t, request.method, request.path, request.body, media, got)
		})
	}

	watched := s.watch(stock + "/watch") // which has no end
	d.check(t, "GET", stock+"/watch", "", "", answer{http.StatusOK, watched.header, ""})
	content, pointer := d.at("paths", "/api/v1/stock/{item_id}", "get", "responses", "200", "content")
	d.validate(t, content, pointer, "application/json", watched.next().data)

	paths, _ := d.at("paths")
	for path, methods := range paths {
		for method := range methods.(map[string]any) {
			seen := d.seen[strings.ToUpper(method)+" "+path]
			if !slices.Contains(seen, "success") || !slices.Contains(seen, "problem") {
				t.Errorf("of %s %s only %v was tried", method, path, seen)
			}
		}
	}
}

func TestAnAnswerWithoutAServiceIsAsOpenAPIDescribesIt(t *testing.T) {
	t.Parallel()
	cfg, _ := apart(t, t.TempDir())
	s := open(t, cfg)
	got := s.send("GET", "/api/v1/trending", "").want(t, http.StatusServiceUnavailable, nil)
	s.describe().check(t, "GET", "/api/v1/trending", "", "", got)
}
