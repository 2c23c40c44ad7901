package transport_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kitextransport "github.com/cloudwego/kitex/transport"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// twoAndThree lets two calls in and three wait, each for 30 s.
const twoAndThree = `
edge: {concurrent: 1}
methods:
  ItemService/GetItem: {effect: read, budget: 2m, attempts: 1, concurrent: 2, waiting: 3, callers: ["*"]}
  ActivityService/GetTrending: {effect: read, budget: 2m, attempts: 1, concurrent: 2, waiting: 3, callers: ["*"]}
  ActivityService/RecordView: {effect: once, budget: 2m, attempts: 1, concurrent: 2, waiting: 3, callers: ["*"]}
  StockService/WatchStock: {effect: stream, callers: ["*"]}
`

// hotel is a server whose calls end when the test lets them.
type hotel struct {
	*running
	policies *policy.Policies
	file     string
	goOn     chan struct{} // closed: calls end

	working, most, ended atomic.Int64 // calls
}

func openHotel(t *testing.T, shipped string) *hotel {
	t.Helper()
	h := &hotel{goOn: make(chan struct{}), file: filepath.Join(t.TempDir(), "policies.yaml")}
	h.write(t, "")
	var err error
	if h.policies, err = policy.Open(policy.Config{File: h.file}, []byte(shipped)); err != nil {
		t.Fatal(err)
	}
	h.running = serveMade(t, telemetry.Config{}, func(tel *telemetry.Telemetry) (*transport.Server, error) {
		return transport.NewServer("127.0.0.1:0", &transport.Governance{Policies: h.policies}, tel)
	}, func(s *transport.Server) error {
		return errors.Join(
			itemservice.RegisterService(s, &items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
				h.stay(ctx)
				return titled("kite")(ctx, id)
			}}),
			activityservice.RegisterService(s, &hotelTrends{of: h}))
	}, nil)
	return h
}

func (h *hotel) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(h.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stay is what a handler does.
func (h *hotel) stay(ctx context.Context) {
	now := h.working.Add(1)
	for most := h.most.Load(); now > most && !h.most.CompareAndSwap(most, now); most = h.most.Load() {
	}
	select {
	case <-h.goOn:
	case <-ctx.Done():
	}
	h.working.Add(-1)
	h.ended.Add(1)
}

// await waits until method has so many calls that are worked on and that wait.
func (h *hotel) await(t *testing.T, method string, working, waiting float64) {
	t.Helper()
	await(t, func() bool {
		return metricSum(t, h.running, `rpc_server_calls_working\{.*rpc_method="`+method+`".*\}`) == working &&
			metricSum(t, h.running, `rpc_server_calls_waiting\{.*rpc_method="`+method+`".*\}`) == waiting
	})
}

func (h *hotel) refused(t *testing.T, method, reason string) float64 {
	t.Helper()
	return metricSum(t, h.running, `rpc_server_refused_total\{.*reason="`+reason+`",rpc_method="`+method+`".*\}`)
}

type hotelTrends struct {
	activity.ActivityService
	of *hotel
}

func (s *hotelTrends) GetTrending(ctx context.Context, req *activity.GetTrendingReq) (*activity.GetTrendingResp, error) {
	s.of.stay(ctx)
	return trending(ctx, req.GetLimit())
}

func (s *hotelTrends) RecordView(ctx context.Context, _ *activity.RecordReq) error {
	s.of.stay(ctx)
	return nil
}

// guest makes calls over one protocol; refused tells whether an error is the refusal.
type guest struct {
	method  string
	call    func(ctx context.Context) error
	refused func(err error) bool
}

func guests() map[string]func(t *testing.T, h *hotel) guest {
	const getItemName, getTrending = "ItemService/GetItem", "ActivityService/GetTrending"
	exception := func(err error) bool {
		return err != nil && strings.Contains(err.Error(), "overloaded: 2 calls are worked on and 3 wait")
	}
	read := func(err error) bool {
		return fault.CodeOf(transport.ReadFault("item", err)) == fault.Overloaded && fault.CodeOf(transport.WriteFault("item", err)) == fault.Overloaded
	}
	kitexItems := func(method string, items itemservice.Client) guest {
		return guest{method, func(ctx context.Context) error { _, err := items.GetItem(ctx, &item.GetItemReq{Id: 7}); return err }, read}
	}
	kitexThrift := func(protocol kitextransport.Protocol, refused func(error) bool) func(*testing.T, *hotel) guest {
		return func(t *testing.T, h *hotel) guest {
			trends := dialKitexThrift(t, h.running, protocol)
			return guest{getTrending, func(ctx context.Context) error {
				_, err := trends.GetTrending(ctx, &activity.GetTrendingReq{Limit: 7})
				return err
			}, refused}
		}
	}
	apacheThrift := func(framed bool) func(*testing.T, *hotel) guest {
		return func(t *testing.T, h *hotel) guest {
			return guest{getTrending, func(ctx context.Context) error {
				_, err := dialThrift(t, h.running, framed).Call(ctx, "GetTrending", thriftArgs{limit: 7}, &thriftText{})
				return err
			}, exception}
		}
	}
	return map[string]func(t *testing.T, h *hotel) guest{
		"Protobuf over TTHeader": func(t *testing.T, h *hotel) guest { return kitexItems(getItemName, dialPatient(t, h.Addr())) },
		"gRPC, Kitex's client":   func(t *testing.T, h *hotel) guest { return kitexItems(getItemName, dialKitexGRPC(t, h.running)) },
		"gRPC, grpc-go's client": func(t *testing.T, h *hotel) guest {
			foreign := dialGRPC(t, h.Addr())
			return guest{getItemName, func(ctx context.Context) error {
				_, err := foreign.call(ctx, getItem, `{"id":7}`)
				return err
			}, func(err error) bool { return status.Code(err) == codes.ResourceExhausted }}
		},
		"Thrift over TTHeader":             kitexThrift(kitextransport.TTHeader, read),
		"Thrift framed, Kitex's client":    kitexThrift(kitextransport.Framed, exception),
		"Thrift buffered, Kitex's client":  kitexThrift(kitextransport.PurePayload, exception),
		"Thrift framed, Apache's client":   apacheThrift(true),
		"Thrift buffered, Apache's client": apacheThrift(false),
	}
}

func TestAsManyCallsAreWorkedOnAndWaitAsThePolicySaysAndOneMoreIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for name, arrive := range guests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := openHotel(t, twoAndThree)
			g := arrive(t, h)
			answers := make(chan error, 5)
			for range 5 {
				go func() { answers <- g.call(t.Context()) }()
			}
			h.await(t, g.method, 2, 3)
			for range 4 {
				if err := g.call(t.Context()); !g.refused(err) {
					t.Errorf("one more call: %v, want that it is refused", err)
				}
			}
			if got := h.refused(t, g.method, "full"); got != 4 {
				t.Errorf("%v refusals are counted, want 4", got)
			}
			close(h.goOn)
			for range 5 {
				if err := <-answers; err != nil {
					t.Errorf("a call that was let in: %v", err)
				}
			}
			h.await(t, g.method, 0, 0)
			if most, ended := h.most.Load(), h.ended.Load(); most != 2 || ended != 5 {
				t.Errorf("at most %d were worked on at once and %d in all, want 2 and 5", most, ended)
			}
			if err := g.call(t.Context()); err != nil {
				t.Errorf("a call after them: %v", err)
			}
		})
	}
}

func TestOnewayCallsThatAreTooManyAreDroppedAndCounted(t *testing.T) {
	t.Parallel()
	const method = "ActivityService/RecordView"
	record := &activity.RecordReq{Records: []*activity.Record{{ItemId: 7, Quantity: 3}}}
	senders := map[string]func(t *testing.T, h *hotel) func() error{
		"Apache, framed": func(t *testing.T, h *hotel) func() error {
			return func() error {
				_, err := dialThrift(t, h.running, true).Call(t.Context(), "RecordView", thriftArgs{item: 7, quantity: 3}, nil)
				return err
			}
		},
	}
	for name, protocol := range thriftProtocols() {
		senders["Kitex, "+name] = func(t *testing.T, h *hotel) func() error {
			trends := dialKitexThrift(t, h.running, protocol)
			return func() error { return trends.RecordView(t.Context(), record) }
		}
	}
	for name, dial := range senders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := openHotel(t, twoAndThree)
			send := dial(t, h)
			for range 9 {
				if err := send(); err != nil {
					t.Fatal(err)
				}
			}
			h.await(t, method, 2, 3)
			await(t, func() bool { return h.refused(t, method, "full") == 4 })
			close(h.goOn)
			await(t, func() bool { return h.ended.Load() == 5 })
			h.await(t, method, 0, 0)
		})
	}
}

func TestACallWaitsNoLongerThanAQuarterOfAnAttempt(t *testing.T) {
	t.Parallel()
	h := openHotel(t, strings.Replace(twoAndThree, "budget: 2m", "budget: 2s", 1))
	items := dialPatient(t, h.Addr())
	answers := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
			answers <- err
		}()
	}
	h.await(t, "ItemService/GetItem", 2, 0)
	_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
	want := fault.Error{Code: fault.Overloaded, Message: "2 calls are worked on, and none of them ended in time; try again later"}
	wantFaults(t, err, want, want)
	if got := h.refused(t, "ItemService/GetItem", "late"); got != 1 {
		t.Errorf("%v refusals are counted, want 1", got)
	}
	close(h.goOn)
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

func TestACallWhoseCallerLeavesGivesItsPlaceToAnother(t *testing.T) {
	t.Parallel()
	h := openHotel(t, twoAndThree)
	foreign, method := dialGRPC(t, h.Addr()), "ItemService/GetItem"
	leaving, leave := context.WithCancel(t.Context())
	answers, left := make(chan error, 3), make(chan error, 3)
	call := func(ctx context.Context, to chan error) {
		_, err := foreign.call(ctx, getItem, `{"id":7}`)
		to <- err
	}
	for range 2 {
		go call(t.Context(), answers)
	}
	h.await(t, method, 2, 0)
	for range 3 {
		go call(leaving, left)
	}
	h.await(t, method, 2, 3)
	leave()
	for range 3 {
		if err := <-left; status.Code(err) != codes.Canceled {
			t.Errorf("who left gets %v", err)
		}
	}
	h.await(t, method, 2, 0)
	go call(t.Context(), answers)
	h.await(t, method, 2, 1)
	close(h.goOn)
	for range 3 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if ended := h.ended.Load(); ended != 3 {
		t.Errorf("%d calls were worked on, want the 3 whose callers stayed", ended)
	}
}

func TestAChangedPolicyAppliesToLaterCallsAndLosesNoneThatWaits(t *testing.T) {
	t.Parallel()
	const method = "ItemService/GetItem"
	h := openHotel(t, twoAndThree)
	items := dialPatient(t, h.Addr())
	answers := make(chan error, 9)
	call := func() {
		_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
		answers <- err
	}
	for range 5 {
		go call()
	}
	h.await(t, method, 2, 3)
	h.write(t, "methods: {"+method+": {concurrent: 3, waiting: 4}}")
	if changed, err := h.policies.Reload(); err != nil || !changed {
		t.Fatal(changed, err)
	}
	for range 3 {
		go call() // into the new room
	}
	h.await(t, method, 5, 3)
	go call()
	h.await(t, method, 5, 4)
	_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
	want := fault.Error{Code: fault.Overloaded, Message: "3 calls are worked on and 4 wait, and there may be no more; try again later"}
	wantFaults(t, err, want, want)
	close(h.goOn)
	for range 9 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	h.await(t, method, 0, 0)
}

func TestMethodsDoNotTakeEachOthersPlaces(t *testing.T) {
	t.Parallel()
	h := openHotel(t, twoAndThree)
	trends := dialKitexThrift(t, h.running, kitextransport.TTHeader)
	full := make(chan error, 5)
	for range 5 {
		go func() {
			_, err := trends.GetTrending(t.Context(), &activity.GetTrendingReq{Limit: 7})
			full <- err
		}()
	}
	h.await(t, "ActivityService/GetTrending", 2, 3)
	other := make(chan error, 1)
	go func() {
		_, err := dialPatient(t, h.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7})
		other <- err
	}()
	h.await(t, "ItemService/GetItem", 1, 0)
	close(h.goOn)
	for range 5 {
		if err := <-full; err != nil {
			t.Error(err)
		}
	}
	if err := <-other; err != nil {
		t.Error(err)
	}
}

func TestAPanicGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	policies, err := policy.Open(policy.Config{}, []byte(strings.Replace(twoAndThree, "concurrent: 2, waiting: 3", "concurrent: 1, waiting: 0", 1)))
	if err != nil {
		t.Fatal(err)
	}
	server := serveMade(t, telemetry.Config{}, func(tel *telemetry.Telemetry) (*transport.Server, error) {
		return transport.NewServer("127.0.0.1:0", &transport.Governance{Policies: policies}, tel)
	}, func(s *transport.Server) error {
		return itemservice.RegisterService(s, &items{get: func(context.Context, int64) (*item.GetItemResp, error) { panic("boom") }})
	}, nil)
	items := dial(t, server.Addr())
	for range 3 {
		_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
		if code := fault.CodeOf(transport.ReadFault("item", err)); code != fault.Internal {
			t.Errorf("code = %s, want internal", code)
		}
	}
}

func TestStreamsThatAreRefusedAreCountedLikeCalls(t *testing.T) {
	t.Parallel()
	server := serveStockWithin(t, stocks{watch: watchUntilTheEnd}, 1, time.Minute, time.Minute)
	const refused = `rpc_server_refused_total\{.*reason="streams",rpc_method="StockService/WatchStock".*\}`
	first, err := dialStock(t, server.Addr()).WatchStock(t.Context(), &stock.WatchStockReq{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Recv(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := dialStock(t, server.Addr()).WatchStock(t.Context(), &stock.WatchStockReq{})
	if err == nil {
		_, err = second.Recv(t.Context())
	}
	if code := fault.CodeOf(transport.ReadFault("stock", err)); code != fault.Overloaded {
		t.Errorf("code = %s, want overloaded", code)
	}
	if got := metricSum(t, server, refused); got != 1 {
		t.Errorf("%v refusals are counted, want 1", got)
	}
}

// It is not parallel, because it measures the heap.
func TestAFloodOfCallsThatAreRefusedTakesNoMemory(t *testing.T) {
	h := openHotel(t, twoAndThree)
	items := dialPatient(t, h.Addr())
	staying := make(chan error, 5)
	for range 5 {
		go func() {
			_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
			staying <- err
		}()
	}
	h.await(t, "ItemService/GetItem", 2, 3)
	const callers, each = 64, 25
	flood := map[string]itemservice.Client{"TTHeader": items, "gRPC": dialKitexGRPC(t, h.running)}
	growth := heapGrowth(func() {
		var group sync.WaitGroup
		for name, items := range flood {
			for range callers {
				group.Go(func() {
					for range each {
						_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
						if fault.CodeOf(transport.ReadFault("item", err)) != fault.Overloaded {
							t.Errorf("%s: %v, want that it is refused", name, err)
							return
						}
					}
				})
			}
		}
		group.Wait()
	})
	if growth > 48*megabyte {
		t.Errorf("the heap grew by %d MB", growth/megabyte)
	}
	if got, want := h.refused(t, "ItemService/GetItem", "full"), float64(len(flood)*callers*each); got != want {
		t.Errorf("%v refusals are counted, want %v", got, want)
	}
	close(h.goOn)
	for range 5 {
		if err := <-staying; err != nil {
			t.Errorf("a call that was let in: %v", err)
		}
	}
}
