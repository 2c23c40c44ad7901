package transport_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client/callopt"
	"github.com/cloudwego/kitex/pkg/kerrors"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

func TestTheDeadlineOfTheCallersContextBoundsTheHandler(t *testing.T) {
	t.Parallel()
	remaining := make(chan time.Duration, 1)
	server := serve(t, items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		deadline, _ := ctx.Deadline()
		remaining <- time.Until(deadline)
		return titled("kite")(ctx, id)
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // less than the client's 3 s
	defer cancel()
	if _, err := dial(t, server.Addr()).GetItem(ctx, &item.GetItemReq{Id: 7}); err != nil {
		t.Fatal(err)
	}
	if got := <-remaining; got > 1500*time.Millisecond {
		t.Errorf("%s remain, want less than the caller's 1.5 s", got)
	}
}

func TestARequestThatIsTooLargeToSendHasAKnownOutcome(t *testing.T) {
	t.Parallel()
	title := strings.Repeat("x", transport.MaxMessageBytes)
	server := serve(t, items{})
	_, err := dial(t, server.Addr()).CreateItem(t.Context(), &item.CreateItemReq{Fields: &item.ItemFields{Title: &title}}, callopt.WithRPCTimeout(time.Minute))
	if code := fault.CodeOf(transport.WriteFault("item", err)); code == fault.OutcomeUnknown {
		t.Errorf("code = %s, which tells the caller to repeat it", code)
	}
	if code := fault.CodeOf(transport.ReadFault("item", err)); code == fault.Unavailable {
		t.Errorf("code = %s, which tells the caller to repeat it", code)
	}
}

func TestAFaultOfAnySizeArrives(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: failing(fault.Invalid("handle", "%q has no item", strings.Repeat("x", 70_000)))})
	_, err := dial(t, server.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7})
	if code := fault.CodeOf(transport.WriteFault("item", err)); code != fault.InvalidArgument {
		t.Errorf("code = %s, want invalid_argument", code)
	}
}

func TestAPanicIsLoggedWithItsStack(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: func(context.Context, int64) (*item.GetItemResp, error) { panic("boom") }})
	_, _ = dial(t, server.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7})
	if lines := fmt.Sprint(server.log.lines(t)); !strings.Contains(lines, "bounds_test.go") {
		t.Errorf("log = %s, want the stack", lines)
	}
}

func TestABusinessStatusOfAnotherServiceIsAForeignError(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: failing(kerrors.NewBizStatusError(77, "no such table: secrets"))})
	_, err := dial(t, server.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7})
	if err == nil || strings.Contains(err.Error(), "secrets") {
		t.Errorf("error = %v, want one without the text", err)
	}
	if len(server.log.lines(t)) != 1 {
		t.Error("it is not logged")
	}
}

func TestAServerThatIsNotAnnouncedIsNotReady(t *testing.T) {
	t.Parallel()
	part := newServer(t).Announcement(memory(t), "item")
	if part.Ready == nil || part.Ready(t.Context()) == nil {
		t.Error("the part is ready before it has announced anything")
	}
}
