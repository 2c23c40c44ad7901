package gateway

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/gateway/internal/upstream"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// entryBytes is about what an entry takes beside its texts.
const entryBytes = 500

// lastItems keeps items for when item is away.
func lastItems(rules *transport.Governance, tel *telemetry.Telemetry) (*upstream.Last[int64, domain.Item], error) {
	told, err := countStale(tel, "item")
	if err != nil {
		return nil, err
	}
	return upstream.NewLast[int64](staleOf(rules, "ItemService/GetItem"), func(i domain.Item) int {
		size := entryBytes + len(i.SKU) + len(i.Title) + len(i.Description) + len(i.Handle) + len(i.Vendor) + len(i.Type)
		for _, option := range i.Options {
			size += 32 + len(option.Name) + len(option.Value)
		}
		for _, texts := range [][]string{i.Tags, i.Images} {
			for _, text := range texts {
				size += 16 + len(text)
			}
		}
		return size
	}, told)
}

// lastTrends keeps trends for when activity is away.
func lastTrends(rules *transport.Governance, tel *telemetry.Telemetry) (*upstream.Last[upstream.TrendsAsked, []domain.Trend], error) {
	told, err := countStale(tel, "trends")
	if err != nil {
		return nil, err
	}
	return upstream.NewLast[upstream.TrendsAsked](staleOf(rules, "ActivityService/GetTrending"), func(trends []domain.Trend) int {
		return entryBytes * (1 + len(trends))
	}, told)
}

// staleOf is how old an answer of a method may be that is shown.
func staleOf(rules *transport.Governance, method string) func() time.Duration {
	return func() time.Duration {
		policy, _ := rules.Policies.Of(method)
		return policy.Stale
	}
}

func countStale(tel *telemetry.Telemetry, what string) (func(), error) {
	answers, err := tel.Meter.Int64Counter("gateway.stale.answers", metric.WithUnit("{answer}"),
		metric.WithDescription("Answers that were shown as they were before, because the service was unavailable."))
	if err != nil {
		return nil, err
	}
	label := metric.WithAttributeSet(attribute.NewSet(attribute.String("what", what)))
	answers.Add(context.Background(), 0, label)
	return func() { answers.Add(context.Background(), 1, label) }, nil
}
