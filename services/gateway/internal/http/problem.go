package http

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol/consts"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// problem is an RFC 9457 document.
type problem struct {
	Type      string        `json:"type"`
	Title     string        `json:"title"`
	Status    int           `json:"status"`
	Detail    string        `json:"detail"`
	Instance  string        `json:"instance"`
	Code      fault.Code    `json:"code"`
	RequestID string        `json:"request_id"`
	TraceID   string        `json:"trace_id,omitzero"`
	Errors    []fault.Field `json:"errors,omitzero"`
	// Members are those of the code, as lines of sold_out.
	Members map[string]jsontext.Value `json:",embed"`
}

// statusOf maps the vocabulary of faults to HTTP.
func statusOf(code fault.Code) int {
	switch code {
	case fault.InvalidArgument:
		return consts.StatusBadRequest
	case fault.Unauthenticated:
		return consts.StatusUnauthorized
	case fault.PermissionDenied:
		return consts.StatusForbidden
	case fault.NotFound:
		return consts.StatusNotFound
	case fault.MethodNotAllowed:
		return consts.StatusMethodNotAllowed
	case fault.Conflict, fault.SoldOut, fault.WrongState:
		return consts.StatusConflict
	case fault.VersionMismatch:
		return consts.StatusPreconditionFailed
	case fault.BodyTooLarge:
		return consts.StatusRequestEntityTooLarge
	case fault.UnsupportedMediaType:
		return consts.StatusUnsupportedMediaType
	case fault.KeyReused:
		return consts.StatusUnprocessableEntity
	case fault.RateLimited:
		return consts.StatusTooManyRequests
	case fault.Unavailable, fault.Overloaded, fault.OutcomeUnknown:
		return consts.StatusServiceUnavailable
	default:
		return consts.StatusInternalServerError
	}
}

// handler answers a request, or returns an error that answer turns into a problem.
type handler func(ctx context.Context, c *app.RequestContext) error

// answer is the one way from an error to a response.
func answer(h handler) app.HandlerFunc {
	return func(ctx context.Context, c *app.RequestContext) {
		if err := h(ctx, c); err != nil {
			writeProblem(ctx, c, err)
		}
	}
}

// writeProblem answers with the fault in err. What caused it goes to the log by c.Error.
func writeProblem(ctx context.Context, c *app.RequestContext, err error) {
	f := fault.From(err)
	_ = c.Error(err)
	status := statusOf(f.Code)
	later := status == consts.StatusServiceUnavailable || status == consts.StatusTooManyRequests
	if later && c.Response.Header.Get(headerRetryAfter) == "" {
		c.Header(headerRetryAfter, strconv.Itoa(retryAfterSeconds))
	}
	members := map[string]jsontext.Value{}
	for name, value := range f.Members {
		members[name] = jsontext.Value(value)
	}
	writeJSON(c, status, "application/problem+json", problem{
		Type: "urn:kiteshop:problem:" + string(f.Code), Title: consts.StatusMessage(status), Status: status,
		Detail: f.Message, Instance: string(c.Path()), Code: f.Code, RequestID: telemetry.RequestID(ctx), TraceID: traceID(ctx), Errors: f.Fields, Members: members,
	})
}

const headerRetryAfter = "Retry-After"

// retryAfterSeconds is when a service that was away or overloaded may be asked again.
const retryAfterSeconds = 1

// ok answers with JSON.
func ok(c *app.RequestContext, status int, value any) error {
	writeJSON(c, status, "application/json; charset=utf-8", value)
	return nil
}

func writeJSON(c *app.RequestContext, status int, contentType string, value any) {
	body, err := encode(value)
	if err != nil {
		_ = c.Error(err)
		c.SetStatusCode(consts.StatusInternalServerError)
		return
	}
	c.Data(status, contentType, body)
}

func encode(value any) ([]byte, error) {
	return json.Marshal(value, jsontext.EscapeForHTML(true), jsontext.AllowInvalidUTF8(true))
}

func notFound(_ context.Context, c *app.RequestContext) error {
	return fault.New(fault.NotFound, "there is nothing at %s", c.Path())
}

// methodNotAllowed names the methods that the path takes: a path is matched
// by its length and its fixed parts.
func (h *Handler) methodNotAllowed(_ context.Context, c *app.RequestContext) error {
	var allowed []string
	for _, r := range h.routes() {
		if matches(r.path, string(c.Path())) {
			allowed = append(allowed, r.method)
		}
	}
	c.Header("Allow", strings.Join(allowed, ", "))
	return fault.New(fault.MethodNotAllowed, "%s is not possible at %s", c.Method(), c.Path())
}

func matches(route, path string) bool {
	parts, given := strings.Split(route, "/"), strings.Split(path, "/")
	return slices.EqualFunc(parts, given, func(part, text string) bool {
		return part == text || strings.HasPrefix(part, ":") && text != ""
	})
}

// causes are the errors of a request, for the log.
func causes(c *app.RequestContext) error {
	var all []error
	for _, err := range c.Errors {
		all = append(all, err.Err)
	}
	return errors.Join(all...)
}
