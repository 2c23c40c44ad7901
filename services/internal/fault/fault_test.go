package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

func TestErrorShowsCodeMessageAndCause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  *fault.Error
		want string
	}{
		{"without a cause", fault.New(fault.NotFound, "item %d does not exist", 7), "not_found: item 7 does not exist"},
		{"with a cause", fault.New(fault.Unavailable, "stock cannot be reached").Because(io.ErrUnexpectedEOF), "unavailable: stock cannot be reached: unexpected EOF"},
		{"without arguments, of which none is missing", fault.New(fault.Conflict, "taken"), "conflict: taken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := c.err.Error(); got != c.want {
				t.Errorf("Error() = %q, want %q", got, c.want)
			}
		})
	}
}

func TestBecauseKeepsTheCauseOutOfTheMessage(t *testing.T) {
	t.Parallel()
	err := fault.New(fault.Unavailable, "the stock service cannot be reached").Because(io.ErrUnexpectedEOF)
	if want := "the stock service cannot be reached"; err.Message != want {
		t.Errorf("Message = %q, want %q", err.Message, want)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause cannot be found in the error")
	}
}

func TestInvalidNamesTheField(t *testing.T) {
	t.Parallel()
	want := fault.Error{
		Code:    fault.InvalidArgument,
		Message: "limit must be 1 to 100",
		Fields:  []fault.Field{{Field: "limit", Reason: "must be 1 to 100"}},
	}
	if got := *fault.Invalid("limit", "must be %d to %d", 1, 100); !reflect.DeepEqual(got, want) {
		t.Errorf("Invalid = %+v, want %+v", got, want)
	}
}

func TestInvalidFieldsListsAllInOrder(t *testing.T) {
	t.Parallel()
	fields := []fault.Field{{Field: "title", Reason: "is missing"}, {Field: "price", Reason: "is below 0; 100% wrong"}}
	want := fault.Error{
		Code:    fault.InvalidArgument,
		Message: "title is missing; price is below 0; 100% wrong",
		Fields:  fields,
	}
	if got := *fault.InvalidFields(fields...); !reflect.DeepEqual(got, want) {
		t.Errorf("InvalidFields = %+v, want %+v", got, want)
	}
}

func TestFromFindsTheFaultInAnError(t *testing.T) {
	t.Parallel()
	known := fault.New(fault.VersionMismatch, "it has version 3")
	for name, err := range map[string]error{
		"itself":  known,
		"wrapped": fmt.Errorf("update: %w", known),
		"joined":  errors.Join(io.EOF, known),
		"deep":    fmt.Errorf("a: %w", errors.Join(fmt.Errorf("b: %w", known), io.EOF)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := fault.From(err); got != known {
				t.Errorf("From = %v, want the fault itself", got)
			}
			if got := fault.CodeOf(err); got != fault.VersionMismatch {
				t.Errorf("CodeOf = %q, want %q", got, fault.VersionMismatch)
			}
		})
	}
}

func TestFromTakesTheOutermostOfTwoFaults(t *testing.T) {
	t.Parallel()
	inner := fault.New(fault.NotFound, "no such row")
	outer := fault.New(fault.Conflict, "the item is gone").Because(inner)
	if got := fault.From(fmt.Errorf("sell: %w", outer)); got != outer {
		t.Errorf("From = %v, want %v", got, outer)
	}
}

func TestAForeignErrorIsInternalAndItsTextStaysInTheLog(t *testing.T) {
	t.Parallel()
	foreign := errors.New("no such table: secrets")
	got := fault.From(foreign)
	if got.Code != fault.Internal || got.Message != "an internal error" || got.Fields != nil {
		t.Errorf("From = code %q, message %q, fields %v; want only internal and its general message", got.Code, got.Message, got.Fields)
	}
	if !errors.Is(got, foreign) {
		t.Error("the foreign error cannot be found in the fault")
	}
	if want := "internal: an internal error: no such table: secrets"; got.Error() != want {
		t.Errorf("Error() = %q, want %q", got.Error(), want)
	}
	if code := fault.CodeOf(foreign); code != fault.Internal {
		t.Errorf("CodeOf = %q, want %q", code, fault.Internal)
	}
}

func TestNoErrorHasNoFault(t *testing.T) {
	t.Parallel()
	if got := fault.From(nil); got != nil {
		t.Errorf("From(nil) = %v, want nil", got)
	}
	if got := fault.CodeOf(nil); got != "" {
		t.Errorf("CodeOf(nil) = %q, want none", got)
	}
}

func TestATimeThatIsOverLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{context.DeadlineExceeded, context.Canceled} {
		got := fault.From(fmt.Errorf("read: %w", cause))
		if got.Code != fault.OutcomeUnknown || got.Message != "the time was over before the call was done" || !errors.Is(got, cause) {
			t.Errorf("From(%v) = %v", cause, got)
		}
	}
}
