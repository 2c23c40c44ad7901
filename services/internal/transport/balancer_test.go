package transport_test

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// refusing is an address where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestInstancesThatRefuseConnectionsCostNoCall(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: titled("kite")})
	addresses := []string{"item=" + server.Addr().String()}
	for range 5 { // of the six tries that Kitex makes, the last one may be the first that succeeds
		addresses = append(addresses, "item="+refusing(t))
	}
	items := dialIn(t, static(t, strings.Join(addresses, ",")))
	var all sync.WaitGroup
	var failed atomic.Int64
	const callers, calls = 8, 50
	for range callers {
		all.Go(func() {
			for range calls {
				if _, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7}); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d of %d calls failed", failed.Load(), callers*calls)
	}
}

func TestWithoutAnInstanceThatAcceptsTheCallFailsAsUnavailable(t *testing.T) {
	t.Parallel()
	_, err := dialIn(t, static(t, "item="+refusing(t))).GetItem(t.Context(), &item.GetItemReq{Id: 7})
	if got := fault.From(transport.ReadFault("item", err)).Code; got != fault.Unavailable {
		t.Errorf("error = %v, which is %s; want %s", err, got, fault.Unavailable)
	}
}
