// Package http answers the HTTP contract on Hertz.
package http

import (
	"github.com/cloudwego/hertz/pkg/route"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
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

// Handler answers with what the shop says.
type Handler struct {
	shop  *domain.Shop
	newID func() string
}

// Register adds the routes to router. newID makes request ids and idempotency keys.
func Register(router *route.Engine, shop *domain.Shop, tel *telemetry.Telemetry, newID func() string) error {
	observe, err := observer(tel, newID)
	if err != nil {
		return err
	}
	h := &Handler{shop: shop, newID: newID}
	router.Use(observe, recoverer(tel))
	router.NoRoute(answer(notFound))
	router.NoMethod(answer(methodNotAllowed))

	router.GET("/api/item", answer(h.tutorialItem))

	api := router.Group("/api/v1")
	api.GET("/items", answer(h.listItems))
	api.POST("/items", answer(h.createItem))
	api.GET("/items/:id", answer(h.getItem))
	api.PATCH("/items/:id", answer(h.updateItem))
	api.DELETE("/items/:id", answer(h.deleteItem))
	api.POST("/imports", answer(h.importItems))
	api.GET("/stock/:item_id", answer(h.getStock))
	api.GET("/stock/:item_id/movements", answer(h.listMovements))
	api.POST("/stock/:item_id/movements", answer(h.createMovement))
	return nil
}
