package http

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

const headerIfMatch = "If-Match"

// checkQuery refuses parameters that the route does not know, or that are given twice.
func checkQuery(c *app.RequestContext, known ...string) error {
	var wrong []fault.Field
	seen := map[string]bool{}
	c.QueryArgs().VisitAll(func(key, _ []byte) {
		name := string(key)
		switch {
		case !slices.Contains(known, name):
			wrong = append(wrong, fault.Field{Field: name, Reason: "is no parameter of this path; it takes " + listOr(known, "none")})
		case seen[name]:
			wrong = append(wrong, fault.Field{Field: name, Reason: "must be given once"})
		}
		seen[name] = true
	})
	if len(wrong) > 0 {
		return fault.InvalidFields(wrong...)
	}
	return nil
}

func listOr(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}

// positive reads a decimal number of at least 1; field names it in the error.
func positive(field, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || strings.HasPrefix(text, "+") {
		return 0, fault.Invalid(field, "must be a positive integer, not %q", text)
	}
	return n, nil
}

// pathID reads an id from the path.
func pathID(c *app.RequestContext, name string) (int64, error) {
	return positive(name, c.Param(name))
}

// pageQuery reads limit and cursor. limit is 0 when it is absent.
func pageQuery(c *app.RequestContext) (limit int, cursor string, err error) {
	if text, given := c.GetQuery("limit"); given {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100 {
			return 0, "", fault.Invalid("limit", "must be an integer from 1 to 100, not %q", text)
		}
		limit = n
	}
	return limit, c.Query("cursor"), nil
}

// boolQuery reads true or false; absent is false.
func boolQuery(c *app.RequestContext, name string) (bool, error) {
	text, given := c.GetQuery(name)
	if given && text != "true" && text != "false" {
		return false, fault.Invalid(name, "must be true or false, not %q", text)
	}
	return text == "true", nil
}

// ifMatch reads the version that the caller has seen from If-Match; 0 is any.
func ifMatch(c *app.RequestContext) (int64, error) {
	header, given, err := ifMatchHeader(c)
	if err != nil || !given || header == "*" {
		return 0, err
	}
	version, valid := versionOf(header)
	if !valid || version < 1 {
		return 0, fault.Invalid(headerIfMatch, `must be one ETag of the item as it was given, such as "3", or *`)
	}
	return version, nil
}

// ifMatchHeader is If-Match. One that is empty is given too: who sends it does not want any version.
func ifMatchHeader(c *app.RequestContext) (text string, given bool, err error) {
	switch values := c.Request.Header.GetAll(headerIfMatch); len(values) {
	case 0:
		return "", false, nil
	case 1:
		return strings.TrimSpace(values[0]), true, nil
	default:
		return "", true, fault.Invalid(headerIfMatch, "must be given once")
	}
}

// versionOf reads the version from an ETag, as 3 from "3" with its quotes.
func versionOf(etag string) (version int64, valid bool) {
	text, opened := strings.CutPrefix(etag, `"`)
	text, closed := strings.CutSuffix(text, `"`)
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), opened && closed && err == nil
}

// mediaType checks the body's type and that it is UTF-8.
func mediaType(c *app.RequestContext, allowed ...string) error {
	given := string(c.ContentType())
	media, params, err := mime.ParseMediaType(given)
	if err != nil || !slices.Contains(allowed, media) {
		return fault.New(fault.UnsupportedMediaType, "the Content-Type is %q; it must be %s", given, strings.Join(allowed, " or "))
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return fault.New(fault.UnsupportedMediaType, "the charset is %q; it must be utf-8", charset)
	}
	return nil
}

// decodeBody reads a JSON body of at most maxBody bytes into value, whose
// fields are all that it may have.
func decodeBody(c *app.RequestContext, value any, types ...string) error {
	if err := mediaType(c, types...); err != nil {
		return err
	}
	body, err := readBody(c)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return fault.Invalid("body", "is empty; it must be a JSON object")
	}
	return decode(body, value)
}

// decodeOptionalBody is decodeBody, but that the body may be left out.
func decodeOptionalBody(c *app.RequestContext, value any, types ...string) error {
	body, err := readBody(c)
	if err != nil || len(body) == 0 {
		return err
	}
	if err := mediaType(c, types...); err != nil {
		return err
	}
	return decode(body, value)
}

// readBody reads at most maxBody bytes; nothing but space is nothing.
func readBody(c *app.RequestContext) ([]byte, error) {
	body, err := io.ReadAll(boundedBody(c, maxBody))
	if err != nil {
		return nil, bodyFault(err)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	return body, nil
}

func decode(body []byte, value any) error {
	if jsontext.Value(body).Kind() == 'n' {
		return fault.Invalid("body", "must be an object, not null")
	}
	return jsonFault(json.Unmarshal(body, value, json.RejectUnknownMembers(true)))
}

// boundedBody is the request's body, which fails beyond limit bytes.
func boundedBody(c *app.RequestContext, limit int64) io.Reader {
	if int64(c.Request.Header.ContentLength()) > limit {
		return &boundedReader{limit: limit}
	}
	return &boundedReader{body: c.RequestBodyStream(), left: limit, limit: limit}
}

type boundedReader struct {
	body        io.Reader
	left, limit int64
}

func (r *boundedReader) Read(buffer []byte) (int, error) {
	if r.body == nil {
		return 0, r.tooLarge()
	}
	n, err := r.body.Read(buffer)
	if r.left -= int64(n); r.left < 0 {
		return 0, r.tooLarge()
	}
	return n, err
}

func (r *boundedReader) tooLarge() error {
	return fault.New(fault.BodyTooLarge, "the body has more than %d bytes", r.limit)
}

// bodyFault keeps faults; a body that breaks off is the caller's doing.
func bodyFault(err error) error {
	if known, ok := errors.AsType[*fault.Error](err); ok {
		return known
	}
	return fault.Invalid("body", "could not be read to its end").Because(err)
}

// jsonFault says where a JSON body is wrong and what is allowed there.
func jsonFault(err error) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*fault.Error](err); ok {
		return known
	}
	if broken, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fault.Invalid(fieldOf(broken.JSONPointer), "is no valid JSON at byte %d: %v", broken.ByteOffset, broken.Err)
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	switch {
	case !ok:
		return fault.Invalid("body", "is no valid JSON: %v", err)
	case errors.Is(semantic.Err, json.ErrUnknownName):
		return fault.Invalid(fieldOf(semantic.JSONPointer), "is no field of this object")
	default:
		return fault.Invalid(fieldOf(semantic.JSONPointer), "must be %s", expected(semantic))
	}
}

// fieldOf writes a JSON pointer as a.b[0].
func fieldOf(pointer jsontext.Pointer) string {
	var field strings.Builder
	for token := range pointer.Tokens() {
		if _, err := strconv.Atoi(token); err == nil {
			fmt.Fprintf(&field, "[%s]", token)
			continue
		}
		if field.Len() > 0 {
			field.WriteByte('.')
		}
		field.WriteString(token)
	}
	if field.Len() == 0 {
		return "body"
	}
	return field.String()
}

// expected says what JSON a Go type takes.
func expected(e *json.SemanticError) string {
	if e.GoType == nil {
		return "another type"
	}
	switch kind := e.GoType.Kind().String(); {
	case strings.HasPrefix(kind, "int"):
		return "an integer, without fraction or exponent, of at most 64 bits"
	case kind == "string":
		return "a string"
	case kind == "slice":
		return "a list"
	default:
		return "an object"
	}
}
