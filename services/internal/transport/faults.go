package transport

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/cloudwego/kitex/pkg/kerrors"
	"github.com/cloudwego/kitex/pkg/remote"
	"github.com/cloudwego/kitex/pkg/remote/codec/perrors"
	kitexcodes "github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/codes"
	kitexstatus "github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/status"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/transport"
	"google.golang.org/grpc/codes"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// statusCode is the gRPC code nearest in meaning. Over TTHeader it is the number
// of the business status. Between our own services the fault's code decides.
func statusCode(code fault.Code) codes.Code {
	switch code {
	case fault.InvalidArgument:
		return codes.InvalidArgument
	case fault.OutcomeUnknown:
		return codes.DeadlineExceeded // the only one that says that the call may have been carried out
	case fault.Unauthenticated:
		return codes.Unauthenticated
	case fault.PermissionDenied:
		return codes.PermissionDenied
	case fault.NotFound:
		return codes.NotFound
	case fault.KeyReused:
		return codes.AlreadyExists
	case fault.Conflict, fault.SoldOut, fault.WrongState:
		return codes.FailedPrecondition // waiting and repeating does not help, as it would with ResourceExhausted
	case fault.VersionMismatch:
		return codes.Aborted
	case fault.Overloaded, fault.RateLimited:
		return codes.ResourceExhausted
	case fault.Unavailable:
		return codes.Unavailable
	default:
		return codes.Internal
	}
}

// isUnsent tells whether a call did not leave this process.
func isUnsent(err error) bool {
	for _, unsent := range []error{
		kerrors.ErrServiceDiscovery, kerrors.ErrLoadbalance, kerrors.ErrGetConnection, kerrors.ErrNoMoreInstance, kerrors.ErrCircuitBreak,
	} {
		if errors.Is(err, unsent) {
			return true
		}
	}
	return false
}

const (
	extraCode    = "code"
	extraFields  = "fields"
	extraMembers = "members"
)

// encodeFault makes err ready for the wire. What the fault wraps stays here.
func encodeFault(f *fault.Error) kerrors.BizStatusErrorIface {
	extra := map[string]string{extraCode: string(f.Code)}
	var fields []fault.Field
	for _, field := range f.Fields[:min(len(f.Fields), maxFields)] {
		fields = append(fields, fault.Field{Field: clip(field.Field), Reason: clip(field.Reason)})
	}
	if len(fields) > 0 {
		if text, err := json.Marshal(fields); err == nil {
			extra[extraFields] = string(text)
		}
	}
	if len(f.Members) > 0 {
		if text, err := json.Marshal(f.Members); err == nil && len(text) <= maxMembers {
			extra[extraMembers] = string(text)
		}
	}
	return kerrors.NewBizStatusErrorWithExtra(int32(statusCode(f.Code)), clip(f.Message), extra)
}

// isRefused tells whether a call was certainly not carried out, and would not
// be the next time: it is too large, or the server does not know the method.
func isRefused(err error) bool {
	if broken, ok := errors.AsType[perrors.ProtocolError](err); ok && broken.TypeId() == perrors.InvalidData {
		return true
	}
	if ended, ok := kitexstatus.FromError(err); ok &&
		slices.Contains([]kitexcodes.Code{kitexcodes.InvalidArgument, kitexcodes.ResourceExhausted, kitexcodes.Unimplemented}, ended.Code()) {
		return true
	}
	refused, ok := errors.AsType[*remote.TransError](err)
	return ok && slices.Contains([]int32{remote.UnknownMethod, remote.UnknownService}, refused.TypeID())
}

// A TTHeader holds 64 KiB. These bounds keep what a fault says below that,
// also when every character takes six bytes in JSON.
const (
	maxText    = 500 // characters
	maxFields  = 8
	maxMembers = 24 << 10 // bytes: a hundred lines that are sold out
)

// clip cuts text to maxText characters.
func clip(text string) string {
	count := 0
	for at := range text {
		if count == maxText {
			return text[:at] + "…"
		}
		count++
	}
	return text
}

// answerFault gives f to the caller as a business status, or, to a client that
// does not read those (one without Kitex's TTHeader meta handler), as an exception.
func answerFault(call rpcinfo.RPCInfo, f *fault.Error) error {
	setter, ok := call.Invocation().(rpcinfo.InvocationSetter)
	if !ok || call.From().ServiceName() == "" && call.Config().TransportProtocol() != transport.GRPC {
		return errors.New(string(f.Code) + ": " + f.Message)
	}
	setter.SetBizStatusErr(encodeFault(f))
	return nil
}

// ReadFault turns the error of a call that only reads into a fault. nil stays nil.
// A service whose time was over does not know that nothing was to be changed.
func ReadFault(service string, err error) error {
	read := notOurs(service, decodeFault(service, err, fault.Unavailable))
	if unknown, ok := errors.AsType[*fault.Error](read); ok && unknown.Code == fault.OutcomeUnknown {
		unknown.Code = fault.Unavailable // it is of this call alone
		return unknown.Because(err)
	}
	return read
}

// WriteFault turns the error of a call that changes something into a fault: a
// call that may have been carried out without an answer is OutcomeUnknown. nil stays nil.
func WriteFault(service string, err error) error {
	return notOurs(service, decodeFault(service, err, fault.OutcomeUnknown))
}

// notOurs keeps what a service says of its caller, which is this program, from
// being told to whoever called this program: for them it is our mistake.
func notOurs(service string, err error) error {
	if code := fault.CodeOf(err); code == fault.Unauthenticated || code == fault.PermissionDenied {
		return fault.New(fault.Internal, "the %s service does not take the call", service).Because(err)
	}
	return err
}

// decodeStatus is what encodeFault was given. Without a code it is another's.
func decodeStatus(status kerrors.BizStatusErrorIface) *fault.Error {
	f := fault.New(fault.Code(status.BizExtra()[extraCode]), "%s", status.BizMessage())
	if text := status.BizExtra()[extraFields]; text != "" {
		_ = json.Unmarshal([]byte(text), &f.Fields)
	}
	if text := status.BizExtra()[extraMembers]; text != "" {
		_ = json.Unmarshal([]byte(text), &f.Members)
	}
	return f
}

func decodeFault(service string, err error, unanswered fault.Code) error {
	if err == nil {
		return nil
	}
	if status, ok := kerrors.FromBizStatusError(err); ok {
		f := decodeStatus(status)
		if f.Code == "" {
			f = decodeBiz(status)
		}
		if f.Code == "" {
			return fault.New(fault.Internal, "an internal error").Because(err)
		}
		return f
	}
	if ended, ok := kitexstatus.FromError(err); ok { // of a stream that was refused before its first message was sent
		if f := decodeGRPC(ended); f.Code != "" {
			return f
		}
	}
	if isRefused(err) {
		return fault.New(fault.Internal, "an internal error").Because(err)
	}
	if isUnsent(err) {
		return fault.New(fault.Unavailable, "the %s service cannot be reached", service).Because(err)
	}
	return fault.New(unanswered, "the %s service did not answer in time", service).Because(err)
}
