// Package upstream calls the services that stock tells something.
package upstream

import (
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/services/internal/transport"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// Activity implements domain.Sales by oneway calls to the activity service.
type Activity struct {
	Sales *transport.Recorder
}

var _ domain.Sales = (*Activity)(nil)

// Sold implements domain.Sales.
func (a *Activity) Sold(itemID, quantity int64) {
	a.Sales.Add(itemID, quantity)
}

// Records are counts as activity takes them.
func Records(counts transport.Counts) []*activity.Record {
	records := make([]*activity.Record, 0, len(counts))
	for id, quantity := range counts {
		records = append(records, &activity.Record{ItemId: id, Quantity: quantity})
	}
	return records
}
