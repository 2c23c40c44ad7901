package http

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol/consts"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// What web pages of other origins may send and read.
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	corsSent    = "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID, X-Request-Id, traceparent, tracestate"
	corsRead    = "Allow, ETag, Idempotency-Key, Location, Retry-After, WWW-Authenticate, X-Request-Id, traceresponse"
	// corsMaxAge is how long a browser may remember what a preflight said, in seconds.
	corsMaxAge = "600"
)

// checkOrigin takes an origin as a browser writes it. "*" is refused: until
// there are keys, any page that somebody looks at could write to the shop.
func checkOrigin(origin string) error {
	read, err := url.Parse(origin)
	if err != nil || (read.Scheme != "https" && read.Scheme != "http") || read.Host == "" ||
		origin != read.Scheme+"://"+read.Host || origin != strings.ToLower(origin) || strings.Contains(origin, "*") {
		return fmt.Errorf("cors-origins has %q; it must be as https://shop.example.com, in lower case, without a path and without *", origin)
	}
	return nil
}

// cors answers browsers that ask whether a page of another origin may ask, and
// tells them that it may read the answer. It never allows cookies: there are none.
func cors(origins []string) app.HandlerFunc {
	return func(ctx context.Context, c *app.RequestContext) {
		c.Response.Header.Add("Vary", "Origin")
		origin := string(c.GetHeader("Origin"))
		preflight := string(c.Method()) == consts.MethodOptions && len(c.GetHeader("Access-Control-Request-Method")) > 0
		allowed := slices.Contains(origins, origin)
		if allowed {
			c.Header("Access-Control-Allow-Origin", origin)
			c.Header("Access-Control-Expose-Headers", corsRead)
		}
		switch {
		case origin == "" || !preflight:
			c.Next(ctx)
		case !allowed:
			writeProblem(ctx, c, fault.New(fault.PermissionDenied, "pages of %.100q may not ask; those that may are listed by -cors-origins", origin))
			c.Abort()
		default:
			c.Header("Access-Control-Allow-Methods", corsMethods)
			c.Header("Access-Control-Allow-Headers", corsSent)
			c.Header("Access-Control-Max-Age", corsMaxAge)
			c.AbortWithStatus(consts.StatusNoContent)
		}
	}
}

// protect sets what browsers are to keep from pages that others make of an
// answer. /docs has a Content-Security-Policy of its own.
func protect(https bool) app.HandlerFunc {
	return func(ctx context.Context, c *app.RequestContext) {
		c.Header("X-Content-Type-Options", "nosniff")
		c.Header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		c.Header("X-Frame-Options", "DENY")
		c.Header("Referrer-Policy", "no-referrer")
		if https {
			c.Header("Strict-Transport-Security", "max-age=31536000")
		}
		c.Next(ctx)
	}
}
