package http

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol/consts"
	"github.com/cloudwego/hertz/pkg/protocol/sse"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

const (
	headerLastEventID = "Last-Event-ID"
	// heartbeat is how often a stream with nothing to tell says that it lives.
	heartbeat = 15 * time.Second
	// reconnectAfter is when a browser whose stream has ended comes back.
	reconnectAfter = 2 * time.Second
)

// watchEvents counts what streams send.
type watchEvents struct {
	sent                       metric.Int64Counter
	state, behind, unavailable metric.MeasurementOption
}

func newWatchEvents(tel *telemetry.Telemetry) (watchEvents, error) {
	sent, err := tel.Meter.Int64Counter("gateway.watch.events", metric.WithUnit("{event}"),
		metric.WithDescription("Events sent to those who watch the stock of an item: states, states after others that were left out, and that stock is unavailable."))
	kind := func(name string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("event", name)))
	}
	events := watchEvents{sent, kind("stock"), kind("behind"), kind("unavailable")}
	for _, of := range []metric.MeasurementOption{events.state, events.behind, events.unavailable} {
		sent.Add(context.Background(), 0, of)
	}
	return events, err
}

func (h *Handler) watchStock(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c, "cursor"); err != nil {
		return err
	}
	id, err := pathID(c, "item_id")
	if err != nil {
		return err
	}
	cursor, err := watchCursor(c)
	if err != nil {
		return err
	}
	if c.IsHead() {
		if _, err := h.shop.Stock(ctx, id); err != nil {
			return err
		}
		streamHeaders(c)
		return nil
	}
	ctx, end, err := h.connections.stream(ctx)
	defer end()
	if err != nil {
		return err
	}
	reader, err := h.shop.Watch(ctx, id, cursor)
	if err != nil {
		return err
	}
	defer reader.Close()
	s := stream{Writer: sse.NewWriter(c), reader: reader, events: h.events}
	streamHeaders(c)
	if s.send(ctx) != nil { // the reader has gone, or takes nothing
		_ = c.GetConn().Close()
	}
	return nil
}

// watchCursor reads the cursor of the last state that the caller has seen. A
// browser that comes back says it in the header, with the URL it began with.
func watchCursor(c *app.RequestContext) (cursor int64, err error) {
	if text, given := c.GetQuery("cursor"); given {
		if cursor, err = eventID("cursor", text); err != nil {
			return 0, err
		}
	}
	if ids := c.Request.Header.GetAll(headerLastEventID); len(ids) > 0 {
		return eventID(headerLastEventID, ids[0])
	}
	return cursor, nil
}

func eventID(field, text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 0 || strings.HasPrefix(text, "+") {
		return 0, fault.Invalid(field, "must be the id of an event, an integer from 0, not %q", text)
	}
	return id, nil
}

// streamHeaders tells caches and proxies to hand on what comes at once. The
// connection ends with the stream, so that a gateway that stops loses it at once.
func streamHeaders(c *app.RequestContext) {
	c.SetContentType("text/event-stream; charset=utf-8")
	c.Header("Cache-Control", "no-store")
	c.Header("X-Accel-Buffering", "no")
	c.SetConnectionClose()
	c.SetStatusCode(consts.StatusOK)
}

// stream is the answer to one who watches.
type stream struct {
	*sse.Writer
	reader *domain.Reader
	events watchEvents
}

// send writes what there is to tell until ctx ends, or writing fails.
func (s stream) send(ctx context.Context) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	begin := sse.Event{Retry: reconnectAfter}
	if err := s.Write(&begin); err != nil {
		return err
	}
	for first := true; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			if err := s.WriteKeepAlive(); err != nil {
				return err
			}
		case <-s.reader.Changed():
			if err := s.tell(ctx, first); err != nil {
				return err
			}
			first = false
		}
	}
}

// tell writes the moment that is now. Who has just come needs the last state
// also when stock is away.
func (s stream) tell(ctx context.Context, first bool) error {
	now, behind := s.reader.Take()
	if !now.Away || first {
		if err := s.tellState(ctx, now, behind); err != nil {
			return err
		}
	}
	if !now.Away {
		return nil
	}
	s.events.sent.Add(ctx, 1, s.events.unavailable)
	return s.WriteEvent("", "unavailable", []byte(`{"code":"unavailable","detail":"the stock service does not answer; its next event says that it does again"}`))
}

func (s stream) tellState(ctx context.Context, now *domain.Moment, behind bool) error {
	text, err := stateText(now, behind)
	if err != nil {
		return err
	}
	kind := s.events.state
	if behind {
		kind = s.events.behind
	}
	s.events.sent.Add(ctx, 1, kind)
	return s.WriteEvent(strconv.FormatInt(now.Cursor, 10), "stock", text)
}

// stateText is the stock in one line, as getStock answers it, with the member
// behind if states before it were left out.
func stateText(now *domain.Moment, behind bool) ([]byte, error) {
	text, err := now.Text(encode)
	if err != nil || !behind {
		return text, err
	}
	return append(slices.Clone(text[:len(text)-1]), `,"behind":true}`...), nil // the text is others' too
}
