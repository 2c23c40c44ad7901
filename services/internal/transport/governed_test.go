package transport_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client"
	kitextransport "github.com/cloudwego/kitex/transport"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// governed is a client that follows policies, and what changes them.
type governed struct {
	itemservice.Client
	tel    *telemetry.Telemetry
	change func(file string)
}

// govern makes one of the instances at addresses.
func govern(t testing.TB, get, create string, addresses []string, more ...client.Option) governed {
	t.Helper()
	options, tel, change := follow(t, "item", fmt.Sprintf("ItemService/GetItem: {%s, concurrent: 1}, ItemService/CreateItem: {%s, concurrent: 1}", get, create), addresses)
	items, err := itemservice.NewClient("item", append(options, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return governed{items, tel, change}
}

// follow gives the options of a client that follows the policies of methods, and what changes them.
func follow(t testing.TB, service, methods string, addresses []string) (options []client.Option, tel *telemetry.Telemetry, change func(file string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policies.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	policies, err := policy.Open(policy.Config{File: file}, []byte("{edge: {concurrent: 1}, methods: {"+methods+"}}"))
	if err != nil {
		t.Fatal(err)
	}
	tel = quiet(t)
	registry := static(t, service+"="+strings.Join(addresses, ","+service+"="))
	if options, err = transport.ClientOptions("tests", registry, &transport.Governance{Policies: policies}, tel); err != nil {
		t.Fatal(err)
	}
	return options, tel, func(text string) {
		write(text)
		if _, err := policies.Reload(); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	aRead  = "effect: read, budget: 20s, attempts: 2, hedge: 1s, breaker: 0.5"
	aKeyed = "effect: keyed, budget: 20s, attempts: 2"
	aOnce  = "effect: once, budget: 20s, attempts: 1"
)

// callAll makes calls by eight callers and gives how those that failed did.
func callAll(calls int, call func(number int) error) (failed []error) {
	var all sync.WaitGroup
	var next atomic.Int64
	var mu sync.Mutex
	for range 8 {
		all.Go(func() {
			for number := next.Add(1); number <= int64(calls); number = next.Add(1) {
				if err := call(int(number)); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return failed
}

func TestOneBadInstanceOfThreeCostsNoRead(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]func(t *testing.T, good string, slow *counting) string{
		"dead":                           func(t *testing.T, _ string, _ *counting) string { return refusing(t) },
		"slow by a second":               func(t *testing.T, _ string, slow *counting) string { return slow.serve(t, time.Second) },
		"accepts and never answers":      func(t *testing.T, _ string, _ *counting) string { return silent(t) },
		"breaks every second connection": func(t *testing.T, good string, _ *counting) string { return losing(t, good, everySecond) },
		"breaks every connection": func(t *testing.T, good string, _ *counting) string {
			return losing(t, good, func(int) bool { return true })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, slow := newCounting(), newCounting()
			first := good.serve(t, 0)
			items := govern(t, aRead, aKeyed, []string{first, good.serve(t, 0), bad(t, first, slow)})
			read := func(number int) error {
				_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: int64(number)})
				return err
			}
			const calls = 2000
			if failed := callAll(calls, read); len(failed) > calls/1000 {
				t.Errorf("while it was learned %d of %d reads failed: %v", len(failed), calls, failed[0])
			}
			learned := slow.reads.Load()
			if failed := callAll(calls, read); len(failed) > 0 {
				t.Errorf("then %d of %d reads failed: %v", len(failed), calls, failed[0])
			}
			if later := slow.reads.Load() - learned; later > calls/100 {
				t.Errorf("the slow one was asked %d times of %d, want only tries", later, calls)
			}
		})
	}
}

// TestASlowInstanceIsAskedBeforeThoseThatRefuse: there is no other that answers.
func TestASlowInstanceIsAskedBeforeThoseThatRefuse(t *testing.T) {
	t.Parallel()
	var slow atomic.Bool
	server := serve(t, items{get: func(_ context.Context, id int64) (*item.GetItemResp, error) {
		if slow.Load() {
			<-time.After(300 * time.Millisecond) // what is slow is a time
		}
		return &item.GetItemResp{Item: &item.Item{Id: id}}, nil
	}})
	addresses := []string{server.Addr().String()}
	for range 5 { // Kitex tries six times to get a connection
		addresses = append(addresses, refusing(t))
	}
	items := govern(t, "effect: read, budget: 20s, attempts: 1", aKeyed, addresses)
	read := func(int) error {
		_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
		return err
	}
	failed := callAll(200, read)
	slow.Store(true)
	failed = append(failed, callAll(64, read)...)
	if len(failed) > 0 {
		t.Errorf("%d of 264 calls failed: %v", len(failed), failed[0])
	}
}

func TestIfAllInstancesAreSlowAllAreAsked(t *testing.T) {
	t.Parallel()
	one, two := newCounting(), newCounting()
	items := govern(t, aRead, aKeyed, []string{one.serve(t, 0), two.serve(t, 0)})
	read := func(int) error {
		_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
		return err
	}
	busy := fault.New(fault.Overloaded, "too many calls wait")
	callAll(100, read)
	one.fault.Store(busy)
	two.fault.Store(busy)
	callAll(100, read)
	before, other := one.reads.Load(), two.reads.Load()
	callAll(100, read)
	if one.reads.Load()-before < 10 || two.reads.Load()-other < 10 {
		t.Errorf("they were asked %d and %d times", one.reads.Load()-before, two.reads.Load()-other)
	}
}

func TestALostAnswerIsAskedForAgainOnlyWithAKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		effect string
		most   int
	}{{aKeyed, 2}, {aOnce, 1}} {
		t.Run(c.effect, func(t *testing.T) {
			t.Parallel()
			counts := newCounting()
			good := counts.serve(t, 0)
			items := govern(t, aRead, c.effect, []string{good, losing(t, good, everySecond), refusing(t)})
			const calls = 500
			var mu sync.Mutex
			failed := map[string]error{}
			callAll(calls, func(number int) error {
				title := strconv.Itoa(number)
				_, err := items.CreateItem(t.Context(), &item.CreateItemReq{Fields: &item.ItemFields{Title: &title}, IdempotencyKey: title})
				if err != nil {
					mu.Lock()
					failed[title] = transport.WriteFault("item", err)
					mu.Unlock()
				}
				return err
			})
			counts.mu.Lock()
			defer counts.mu.Unlock()
			for number := 1; number <= calls; number++ {
				title := strconv.Itoa(number)
				err := failed[title]
				if made := counts.made[title]; made > c.most || made == 0 && err == nil {
					t.Errorf("%s was done %d times, %v", title, made, err)
				}
				if err != nil && (c.most == 2 || fault.CodeOf(err) != fault.OutcomeUnknown) {
					t.Errorf("%s: %v", title, err)
				}
			}
		})
	}
}

// TestThriftIsRepeatedAsProtobufIs asks three instances of which one breaks every
// second connection and one refuses them.
func TestThriftIsRepeatedAsProtobufIs(t *testing.T) {
	t.Parallel()
	good := serveThrift(t, &trends{get: trending}).Addr().String()
	options, tel, _ := follow(t, "activity", "ActivityService/GetTrending: {"+aRead+", concurrent: 1}", []string{good, losing(t, good, everySecond), refusing(t)})
	client, err := activityservice.NewClient("activity", options...)
	if err != nil {
		t.Fatal(err)
	}
	const calls = 500
	failed := callAll(calls, func(number int) error {
		resp, err := client.GetTrending(t.Context(), &activity.GetTrendingReq{Limit: int32(number)})
		if err == nil && (len(resp.GetTrends()) != 1 || resp.GetTrends()[0].GetItemId() != int64(number)) {
			err = fmt.Errorf("call %d was answered %v", number, resp)
		}
		return err
	})
	if len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %v", len(failed), calls, failed[0])
	}
	if repeated := metricSum(t, &running{tel: tel}, `rpc_client_repetitions_total\{.*rpc_method="ActivityService/GetTrending".*\}`); repeated == 0 {
		t.Error("no call was repeated")
	}
}

// protocols are how the client of the item service may be told to speak.
func protocols() map[string][]client.Option {
	return map[string][]client.Option{
		"Protobuf over TTHeader": nil,
		"gRPC":                   {client.WithTransportProtocol(kitextransport.GRPC)},
	}
}

func TestWhatIsRepeatedFollowsTheAnswer(t *testing.T) {
	t.Parallel()
	for protocol, options := range protocols() {
		for _, c := range []struct {
			answer   error
			attempts int64
		}{
			{nil, 1},
			{fault.New(fault.Overloaded, "too many calls wait"), 2},
			{fault.New(fault.NotFound, "there is no item 7"), 1},
			{fault.New(fault.Unavailable, "stock is away"), 1},
			{fault.New(fault.Internal, "an internal error"), 1},
			{fault.New(fault.RateLimited, "slower"), 1},
		} {
			t.Run(fmt.Sprint(protocol, " ", fault.CodeOf(c.answer)), func(t *testing.T) {
				t.Parallel()
				counts := newCounting()
				counts.fault.Store(fault.From(c.answer))
				items := govern(t, "effect: read, budget: 20s, attempts: 2", aKeyed, []string{counts.serve(t, 0)}, options...)
				_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
				if got := fault.CodeOf(transport.ReadFault("item", err)); got != fault.CodeOf(c.answer) {
					t.Errorf("the caller is told %q", got)
				}
				if got := counts.reads.Load(); got != c.attempts {
					t.Errorf("it was asked %d times, want %d", got, c.attempts)
				}
			})
		}
	}
}

func TestAWriteThatMayBeDoneIsNotSaidToBeRefused(t *testing.T) {
	t.Parallel()
	counts := newCounting()
	counts.fault.Store(fault.New(fault.Overloaded, "too many calls wait"))
	good := counts.serve(t, 0)
	create := func(address string) error {
		title := "kite"
		items := govern(t, aRead, aKeyed, []string{address})
		_, err := items.CreateItem(t.Context(), &item.CreateItemReq{Fields: &item.ItemFields{Title: &title}})
		return transport.WriteFault("item", err)
	}
	if err := create(good); fault.CodeOf(err) != fault.Overloaded {
		t.Errorf("refused twice: %v", err)
	}
	if err := create(losing(t, good, func(number int) bool { return number == 1 })); fault.CodeOf(err) != fault.OutcomeUnknown {
		t.Errorf("lost, then refused: %v", err)
	}
}

func TestAFifthOfTheCallsIsRepeatedAtMost(t *testing.T) {
	t.Parallel()
	counts := newCounting()
	counts.fault.Store(fault.New(fault.Overloaded, "too many calls wait"))
	items := govern(t, aRead, aKeyed, []string{counts.serve(t, 0)})
	const calls = 2000
	callAll(calls, func(int) error {
		_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
		return err
	})
	if got := counts.reads.Load(); got < calls+50 || got > calls+calls/5+50+8 {
		t.Errorf("%d calls were %d attempts", calls, got)
	}
}

func TestAChangedPolicyActsOnTheNextCall(t *testing.T) {
	t.Parallel()
	counts := newCounting()
	counts.fault.Store(fault.New(fault.Overloaded, "too many calls wait"))
	items := govern(t, "effect: read, budget: 20s, attempts: 2", aKeyed, []string{counts.serve(t, 0)})
	for _, attempts := range []int64{3, 1, 2} {
		items.change(fmt.Sprintf("methods: {ItemService/GetItem: {attempts: %d}}", attempts))
		before := counts.reads.Load()
		_, _ = items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
		if got := counts.reads.Load() - before; got != attempts {
			t.Errorf("%d attempts, want %d", got, attempts)
		}
	}
	stuck := govern(t, "effect: read, budget: 1m, attempts: 1", aKeyed, []string{silent(t)})
	stuck.change("methods: {ItemService/GetItem: {budget: 50ms}}")
	if _, err := stuck.GetItem(t.Context(), &item.GetItemReq{Id: 7}); err == nil {
		t.Error("who is silent answers")
	}
}

func TestNothingIsRepeatedAfterTheCallersDeadline(t *testing.T) {
	t.Parallel()
	counts := newCounting()
	items := govern(t, "effect: read, budget: 20s, attempts: 3", aKeyed, []string{counts.serve(t, time.Minute)})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _ = items.GetItem(ctx, &item.GetItemReq{Id: 7})
	if got := counts.reads.Load(); got > 1 {
		t.Errorf("it was asked %d times", got)
	}
}

func TestAServiceThatDoesNotAnswerIsNotAskedUntilItDoes(t *testing.T) {
	t.Parallel()
	healed := make(chan struct{})
	server := serve(t, items{get: func(_ context.Context, id int64) (*item.GetItemResp, error) {
		<-healed
		return &item.GetItemResp{Item: &item.Item{Id: id}}, nil
	}})
	items := govern(t, "effect: read, budget: 200ms, attempts: 1, breaker: 0.5", aKeyed, []string{server.Addr().String()})
	read := func() error {
		_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
		return err
	}
	state := func() any {
		return diagnose(t, items.tel, "client/item/breakers").(map[string]any)["ItemService/GetItem"]
	}
	await(t, func() bool {
		_ = callAll(8, func(int) error { return read() })
		// A call that was sent and not answered would be outcome_unknown.
		return fault.CodeOf(transport.WriteFault("item", read())) == fault.Unavailable
	})
	if got := state(); got == "closed" {
		t.Errorf("the breaker is %v", got)
	}
	close(healed)
	await(t, func() bool { return read() == nil && state() == "closed" })
}
