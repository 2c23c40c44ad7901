// Package http answers the HTTP contract on Hertz.
package http

import (
	"github.com/cloudwego/hertz/pkg/protocol/consts"
	hertzroute "github.com/cloudwego/hertz/pkg/route"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// Limits of a request.
const (
	// MaxHeaderBytes bounds the request line and the headers.
	MaxHeaderBytes = 64 << 10
	// maxBody bounds a JSON body.
	maxBody = 1 << 20
	// maxImport bounds a product file, which is streamed.
	maxImport = 1 << 30
)

// Routes that are not limited like the others.
const (
	docsPath    = "/docs"
	openAPIPath = "/openapi.json"
	watchPath   = "/api/v1/stock/:item_id/watch"
)

// Handler answers with what the shop says.
type Handler struct {
	shop        *domain.Shop
	connections *Connections
	events      watchEvents
	newID       func() string
	docs        documentation
}

// Register adds the routes to router, whose connections are known to
// connections, and limits the requests as rules say. newID makes request ids
// and idempotency keys.
func Register(router *hertzroute.Engine, connections *Connections, shop *domain.Shop, access Access, rules *policy.Policies, tel *telemetry.Telemetry, newID func() string) error {
	observe, err := observer(tel, access.Scheme(), newID)
	if err != nil {
		return err
	}
	count, err := counted(tel, access.Scheme())
	if err != nil {
		return err
	}
	docs, err := newDocumentation()
	if err != nil {
		return err
	}
	events, err := newWatchEvents(tel)
	if err != nil {
		return err
	}
	limits, err := newLimits(rules, tel)
	if err != nil {
		return err
	}
	guard, err := newGuard(access, tel)
	if err != nil {
		return err
	}
	h := &Handler{shop: shop, connections: connections, events: events, newID: newID, docs: docs}
	router.Use(connections.handler, count, spans(tel, access.Scheme()), observe, recoverer(tel), protect(access.TLS))
	if len(access.Origins) > 0 {
		router.Use(cors(access.Origins))
	}
	router.Use(guard.authenticate, limits.handler)
	router.NoRoute(answer(notFound))
	router.NoMethod(answer(h.methodNotAllowed))

	for _, r := range h.routes() {
		handle := answer(guard.permitted(r.scope, r.handler))
		router.Handle(r.method, r.path, handle)
		if r.method == consts.MethodGet {
			router.HEAD(r.path, handle)
		}
	}
	return nil
}

// route is one line of the HTTP surface, which openapi.json describes.
type route struct {
	method, path string
	// scope is what a key must be good for, once there is one. Reads are open.
	scope   domain.Scope
	handler handler
}

func (h *Handler) routes() []route {
	return []route{
		{"GET", docsPath, domain.Read, h.getDocs},
		{"GET", openAPIPath, domain.Read, h.getOpenAPI},
		{"GET", "/api/item", domain.Read, h.tutorialItem},
		{"GET", "/api/v1/items", domain.Read, h.listItems},
		{"POST", "/api/v1/items", domain.Write, h.createItem},
		{"GET", "/api/v1/items/:id", domain.Read, h.getItem},
		{"PATCH", "/api/v1/items/:id", domain.Write, h.updateItem},
		{"DELETE", "/api/v1/items/:id", domain.Admin, h.deleteItem},
		{"POST", "/api/v1/imports", domain.Admin, h.importItems},
		{"GET", "/api/v1/trending", domain.Read, h.trending},
		{"GET", "/api/v1/stock", domain.Read, h.listStock},
		{"GET", "/api/v1/stock/:item_id", domain.Read, h.getStock},
		{"PUT", "/api/v1/stock/:item_id", domain.Write, h.setStock},
		{"PATCH", "/api/v1/stock/:item_id", domain.Admin, h.configureStock},
		{"GET", watchPath, domain.Read, h.watchStock},
		{"GET", "/api/v1/stock/:item_id/movements", domain.Read, h.listMovements},
		{"POST", "/api/v1/stock/:item_id/movements", domain.Write, h.createMovement},
		{"GET", "/api/v1/reservations", domain.Read, h.listReservations},
		{"POST", "/api/v1/reservations", domain.Write, h.reserve},
		{"GET", "/api/v1/reservations/:id", domain.Read, h.getReservation},
		{"POST", "/api/v1/reservations/:id/commit", domain.Write, h.step("commit")},
		{"POST", "/api/v1/reservations/:id/fulfil", domain.Write, h.step("fulfil")},
		{"POST", "/api/v1/reservations/:id/release", domain.Write, h.step("release")},
		{"POST", "/api/v1/reservations/:id/extend", domain.Write, h.step("extend")},
	}
}
