package http

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi/datamodel"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
)

func TestOpenAPIHasTheRoutesAndNoOthers(t *testing.T) {
	t.Parallel()
	var documented, served []string
	for path, methods := range document(t)["paths"].(map[string]any) {
		for method := range methods.(map[string]any) {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	for _, r := range (&Handler{}).routes() {
		parts := strings.Split(r.path, "/")
		for i, part := range parts {
			if name, ok := strings.CutPrefix(part, ":"); ok {
				parts[i] = "{" + name + "}"
			}
		}
		served = append(served, r.method+" "+strings.Join(parts, "/"))
	}
	for _, one := range documented {
		if !slices.Contains(served, one) {
			t.Errorf("openapi.json has %s, which is no route", one)
		}
	}
	for _, one := range served {
		if !slices.Contains(documented, one) {
			t.Errorf("the route %s is not in openapi.json", one)
		}
	}
}

func TestOpenAPISaysWhichScopeEachRouteTakes(t *testing.T) {
	t.Parallel()
	paths := document(t)["paths"].(map[string]any)
	for _, r := range (&Handler{}).routes() {
		path := regexp.MustCompile(":([a-z_]+)").ReplaceAllString(r.path, "{$1}")
		operation := paths[path].(map[string]any)[strings.ToLower(r.method)].(map[string]any)
		want := fmt.Sprintf("[map[] map[key:[%s]]]", r.scope)
		if got := fmt.Sprint(operation["security"]); got != want {
			t.Errorf("%s %s has the security %s, want %s", r.method, r.path, got, want)
		}
		answers := operation["responses"].(map[string]any)
		if answers["401"] == nil || (answers["403"] == nil) != (r.scope == domain.Read) {
			t.Errorf("%s %s has 401: %v, 403: %v", r.method, r.path, answers["401"], answers["403"])
		}
	}
}

func TestOpenAPIIsValid(t *testing.T) {
	t.Parallel()
	schemas := jsonschema.NewCompiler()
	rules, err := jsonschema.UnmarshalJSON(strings.NewReader(datamodel.OpenAPI31SchemaData))
	if err != nil {
		t.Fatal(err)
	}
	written := document(t)
	for name, resource := range map[string]any{"rules.json": rules, "openapi.json": written} {
		if err := schemas.AddResource(name, resource); err != nil {
			t.Fatal(err)
		}
	}
	if err := schemas.MustCompile("rules.json").Validate(written); err != nil {
		t.Error(err)
	}
	for name := range written["components"].(map[string]any)["schemas"].(map[string]any) {
		if _, err := schemas.Compile("openapi.json#/components/schemas/" + name); err != nil {
			t.Error(err)
		}
	}
	// The schemas above do not look where references lead.
	model, err := libopenapi.NewDocument(openAPIText(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := model.BuildV3Model(); err != nil {
		t.Error(err)
	}
}

func TestEveryPartOfOpenAPIIsUsed(t *testing.T) {
	t.Parallel()
	for kind, parts := range document(t)["components"].(map[string]any) {
		for name := range parts.(map[string]any) {
			reference := `"#/components/` + kind + "/" + name + `"`
			if kind == "securitySchemes" {
				reference = `{"` + name + `": [`
			}
			if !bytes.Contains(openAPIText(t), []byte(reference)) {
				t.Errorf("nothing refers to %s", reference)
			}
		}
	}
}

func TestTheDocsShowEveryOperationAndBody(t *testing.T) {
	t.Parallel()
	docs, err := newDocumentation()
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{`<code>Idempotency-Key</code>`, `<a href="#Item">Item</a>`}
	for name := range document(t)["components"].(map[string]any)["schemas"].(map[string]any) {
		wanted = append(wanted, `<h3 id="`+name+`">`)
	}
	for _, methods := range document(t)["paths"].(map[string]any) {
		for _, operation := range methods.(map[string]any) {
			wanted = append(wanted, `<details id="`+operation.(map[string]any)["operationId"].(string)+`">`)
		}
	}
	for _, one := range wanted {
		if !bytes.Contains(docs.page, []byte(one)) {
			t.Errorf("the page has no %s", one)
		}
	}
	for _, wrong := range []string{"&lt;nil&gt;", "no value", "map["} {
		if bytes.Contains(docs.page, []byte(wrong)) {
			t.Errorf("the page has %s", wrong)
		}
	}
}

func openAPIText(t *testing.T) []byte {
	t.Helper()
	text, err := documents.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func document(t *testing.T) map[string]any {
	t.Helper()
	read, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPIText(t)))
	if err != nil {
		t.Fatal(err)
	}
	return read.(map[string]any)
}
