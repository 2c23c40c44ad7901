package http

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol/consts"
	"github.com/go-json-experiment/json"
)

//go:embed openapi.json docs.html
var documents embed.FS

// documentation is what the gateway says about itself. openapi.json is written
// by hand, together with the routes; page is made of it.
type documentation struct {
	openAPI, page []byte
	policy        string // the page's Content-Security-Policy
}

func newDocumentation() (documentation, error) {
	openAPI, err := documents.ReadFile("openapi.json")
	if err != nil {
		return documentation{}, err
	}
	var document map[string]any
	if err := json.Unmarshal(openAPI, &document); err != nil {
		return documentation{}, fmt.Errorf("openapi.json: %w", err)
	}
	page := template.New("docs.html").Funcs(template.FuncMap{
		"resolve": func(node map[string]any) any { return resolve(document, node) },
		"name":    func(node map[string]any) string { return lastPart(node["$ref"]) },
		"rules":   rules,
	})
	if _, err := page.ParseFS(documents, "docs.html"); err != nil {
		return documentation{}, err
	}
	var html bytes.Buffer
	if err := page.Execute(&html, document); err != nil {
		return documentation{}, err
	}
	_, rest, _ := strings.Cut(html.String(), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	hash := sha256.Sum256([]byte(style))
	policy := fmt.Sprintf("default-src 'self'; style-src 'sha256-%s'; frame-ancestors 'none'", base64.StdEncoding.EncodeToString(hash[:]))
	return documentation{openAPI, html.Bytes(), policy}, nil
}

// resolve follows a $ref, such as #/components/headers/ETag, if node is one.
func resolve(document, node map[string]any) any {
	reference, ok := node["$ref"].(string)
	if !ok {
		return node
	}
	var at any = document
	for part := range strings.SplitSeq(strings.TrimPrefix(reference, "#/"), "/") {
		at = at.(map[string]any)[part]
	}
	return at
}

// lastPart is the name of what a $ref means, "" for no $ref.
func lastPart(reference any) string {
	text, _ := reference.(string)
	return text[strings.LastIndexByte(text, '/')+1:]
}

// rules are what a schema says that the page does not show in another way.
func rules(schema map[string]any) (string, error) {
	shown := map[string]any{}
	for key, value := range schema {
		switch key {
		case "description", "properties", "items", "required", "$ref", "oneOf", "allOf":
		default:
			shown[key] = value
		}
	}
	text, err := json.Marshal(shown, json.Deterministic(true))
	return strings.Trim(strings.NewReplacer(`"`, "", ",", ", ", ":", ": ").Replace(string(text)), "{}"), err
}

func (h *Handler) getOpenAPI(_ context.Context, c *app.RequestContext) error {
	if err := checkQuery(c); err != nil {
		return err
	}
	c.Data(consts.StatusOK, typeJSON, h.docs.openAPI)
	return nil
}

func (h *Handler) getDocs(_ context.Context, c *app.RequestContext) error {
	if err := checkQuery(c); err != nil {
		return err
	}
	c.Header("Content-Security-Policy", h.docs.policy)
	c.Data(consts.StatusOK, "text/html; charset=utf-8", h.docs.page)
	return nil
}
