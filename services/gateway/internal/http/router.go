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
func Register(router *hertzroute.Engine, connections *Connections, shop *domain.Shop, rules *policy.Policies, tel *telemetry.Telemetry, newID func() string) error {
	observe, err := observer(tel, newID)
	if err != nil {
		return err
	}
	count, err := counted(tel)
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
	h := &Handler{shop: shop, connections: connections, events: events, newID: newID, docs: docs}
	router.Use(connections.handler, count, spans(tel), observe, recoverer(tel), limits.handler)
	router.NoRoute(answer(notFound))
	router.NoMethod(answer(h.methodNotAllowed))

	for _, r := range h.routes() {
		router.Handle(r.method, r.path, answer(r.handler))
		if r.method == consts.MethodGet {
			router.HEAD(r.path, answer(r.handler))
		}
	}
	return nil
}

// route is one line of the HTTP surface, which openapi.json describes.
type route struct {
	method, path string
	handler      handler
}

func (h *Handler) routes() []route {
	return []route{
		{"GET", docsPath, h.getDocs},
		{"GET", openAPIPath, h.getOpenAPI},
		{"GET", "/api/item", h.tutorialItem},
		{"GET", "/api/v1/items", h.listItems},
		{"POST", "/api/v1/items", h.createItem},
		{"GET", "/api/v1/items/:id", h.getItem},
		{"PATCH", "/api/v1/items/:id", h.updateItem},
		{"DELETE", "/api/v1/items/:id", h.deleteItem},
		{"POST", "/api/v1/imports", h.importItems},
		{"GET", "/api/v1/trending", h.trending},
		{"GET", "/api/v1/stock", h.listStock},
		{"GET", "/api/v1/stock/:item_id", h.getStock},
		{"PUT", "/api/v1/stock/:item_id", h.setStock},
		{"PATCH", "/api/v1/stock/:item_id", h.configureStock},
		{"GET", watchPath, h.watchStock},
		{"GET", "/api/v1/stock/:item_id/movements", h.listMovements},
		{"POST", "/api/v1/stock/:item_id/movements", h.createMovement},
		{"GET", "/api/v1/reservations", h.listReservations},
		{"POST", "/api/v1/reservations", h.reserve},
		{"GET", "/api/v1/reservations/:id", h.getReservation},
		{"POST", "/api/v1/reservations/:id/commit", h.step("commit")},
		{"POST", "/api/v1/reservations/:id/fulfil", h.step("fulfil")},
		{"POST", "/api/v1/reservations/:id/release", h.step("release")},
		{"POST", "/api/v1/reservations/:id/extend", h.step("extend")},
	}
}
