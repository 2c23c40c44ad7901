package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/kiteshop/kiteshop/idl"
)

// syncing is a stream of counts, as a client of grpc-go that was made from the contract has it.
type syncing struct {
	t      testing.TB
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	method protoreflect.MethodDescriptor
}

// syncStock opens a stream to the stock service, over a connection of its own.
func syncStock(t testing.TB, address string) *syncing {
	t.Helper()
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(idl.Descriptors(), &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	found, err := files.FindDescriptorByName("stock.StockService.SyncStock")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/stock.StockService/SyncStock")
	if err != nil {
		t.Fatal(err)
	}
	return &syncing{t, conn, stream, found.(protoreflect.MethodDescriptor)}
}

// shelfCount and synced are a count and what became of it, in Protobuf's JSON.
type (
	shelfCount struct {
		ItemID   int64  `json:"itemId"`
		OnHand   int64  `json:"onHand"`
		Location string `json:"location,omitempty"`
	}
	synced struct {
		Batch   int64 `json:",string"`
		Results []struct {
			Delta  int64 `json:",string"`
			Reason string
		}
	}
)

func (s *syncing) send(sync string, batch int64, counts []shelfCount) {
	s.t.Helper()
	text, err := json.Marshal(map[string]any{"sync": sync, "batch": batch, "counts": counts, "actor": "ann"})
	if err != nil {
		s.t.Fatal(err)
	}
	request := dynamicpb.NewMessage(s.method.Input())
	if err := protojson.Unmarshal(text, request); err != nil {
		s.t.Fatal(err)
	}
	if err := s.stream.SendMsg(request); err != nil {
		s.t.Fatal(err)
	}
}

func (s *syncing) receive() synced {
	s.t.Helper()
	answer := dynamicpb.NewMessage(s.method.Output())
	if err := s.stream.RecvMsg(answer); err != nil {
		s.t.Fatal(err)
	}
	text, err := protojson.Marshal(answer)
	if err != nil {
		s.t.Fatal(err)
	}
	var got synced
	if err := json.Unmarshal(text, &got); err != nil {
		s.t.Fatalf("%v in %s", err, text)
	}
	return got
}

// A count of three items in 30 parts, each of which changes all of them. The
// connection breaks after every fourth part that was sent, before its answer,
// and the part is sent again over another one.
func TestACountThatIsCutInTheMiddleIsCompletedExactlyOnce(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, s running) {
		const parts = 30
		ids := []int64{s.create("Hat").ID, s.create("Mug").ID, s.create("Pin").ID}
		onHand := func(part, item int64) int64 { return (part*7 + item*3) % 100 }
		stream := syncStock(t, s.StockAddr().String())
		for part := int64(1); part <= parts; part++ {
			var counts []shelfCount
			for i, id := range ids {
				counts = append(counts, shelfCount{ItemID: id, OnHand: onHand(part, int64(i))})
			}
			stream.send("august", part, counts)
			if part%4 == 0 {
				if err := stream.conn.Close(); err != nil {
					t.Fatal(err)
				}
				stream = syncStock(t, s.StockAddr().String())
				stream.send("august", part, counts)
			}
			got := stream.receive()
			if got.Batch != part || len(got.Results) != len(ids) {
				t.Fatalf("part %d was answered with %+v", part, got)
			}
			for i, result := range got.Results {
				before := onHand(part-1, int64(i))
				if part == 1 {
					before = 0
				}
				if want := onHand(part, int64(i)) - before; result.Delta != want || result.Reason != "" {
					t.Errorf("part %d changed item %d by %d (%s), want %d", part, i, result.Delta, result.Reason, want)
				}
			}
		}
		for i, id := range ids {
			var now stock
			s.send("GET", fmt.Sprintf("/api/v1/stock/%d", id), "").want(t, http.StatusOK, &now)
			ledger, sum := s.ledger(id), int64(0)
			for _, m := range ledger {
				sum += m.Delta
			}
			if want := onHand(parts, int64(i)); now.OnHand != want || sum != want || len(ledger) != parts || now.Version != parts {
				t.Errorf("item %d: %+v, and %d movements add up to %d; want %d on hand after %d", i, now.balance, len(ledger), sum, want, parts)
			}
		}
	})
}

func TestAWatcherSeesACount(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID
	w := s.watch(watchPath(id))
	w.state()
	stream := syncStock(t, s.StockAddr().String())
	stream.send("august", 1, []shelfCount{{ItemID: id, OnHand: 7}, {ItemID: id, OnHand: 5, Location: "shelf"}})
	if got := stream.receive(); len(got.Results) != 2 || got.Results[0].Delta != 7 || got.Results[1].Delta != 5 {
		t.Errorf("the count was answered with %+v", got)
	}
	if last := w.until(2); last.OnHand != 12 || len(last.Locations) != 2 {
		t.Errorf("the watcher sees %+v", last)
	}
}
