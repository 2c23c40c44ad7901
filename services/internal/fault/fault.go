// Package fault is the one vocabulary of errors that the services share.
//
// An error that is not a *Error is internal: its text belongs in the log and
// never in an answer. Across an RPC the code, the message, the fields and the
// members arrive; what the error wraps stays behind.
package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Code names what went wrong, in the words of the HTTP contract.
type Code string

const (
	// InvalidArgument: the request is wrong whatever the state; Fields say where.
	InvalidArgument Code = "invalid_argument"
	// Unauthenticated: who calls must say who it is, by a key or a token that is valid.
	Unauthenticated Code = "unauthenticated"
	// PermissionDenied: it is known who calls, and that it may not.
	PermissionDenied Code = "permission_denied"
	// NotFound: what the request names does not exist.
	NotFound Code = "not_found"
	// Conflict: the state forbids it, as a SKU that is taken or a floor that would break.
	Conflict Code = "conflict"
	// SoldOut: less is available than is asked for; the member lines says of what.
	SoldOut Code = "sold_out"
	// WrongState: what the request names is in a state that forbids it; the member state says in which.
	WrongState Code = "wrong_state"
	// VersionMismatch: the caller has seen an older version than the one stored.
	VersionMismatch Code = "version_mismatch"
	// KeyReused: the idempotency key came before with other parameters.
	KeyReused Code = "key_reused"
	// BodyTooLarge and UnsupportedMediaType concern the HTTP body.
	BodyTooLarge         Code = "body_too_large"
	UnsupportedMediaType Code = "unsupported_media_type"
	// MethodNotAllowed: the path exists, but not for this HTTP method.
	MethodNotAllowed Code = "method_not_allowed"
	// Unavailable: a service that is needed did not take the call; nothing was done.
	Unavailable Code = "unavailable"
	// RateLimited: this caller asks too often; nothing was done, and later it may go.
	RateLimited Code = "rate_limited"
	// Overloaded: too many calls wait already; nothing was done, and later it may go.
	Overloaded Code = "overloaded"
	// OutcomeUnknown: the call was sent and its answer lost; repeat it with the same key.
	OutcomeUnknown Code = "outcome_unknown"
	// Internal: our mistake.
	Internal Code = "internal"
)

// Field is one thing that is wrong with a request: where, and what is allowed there.
type Field struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// Error is an error whose message may be shown to the caller.
type Error struct {
	Code    Code
	Message string
	Fields  []Field
	// Members are what a program may want to read of it, by name; each is JSON.
	Members map[string]json.RawMessage
	cause   error
}

// New makes an error from a code and a message for the caller.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid makes an InvalidArgument error for one field.
func Invalid(field, format string, args ...any) *Error {
	return InvalidFields(Field{Field: field, Reason: fmt.Sprintf(format, args...)})
}

// InvalidFields makes an InvalidArgument error that lists all that is wrong.
func InvalidFields(fields ...Field) *Error {
	reasons := make([]string, len(fields))
	for i, f := range fields {
		reasons[i] = f.Field + " " + f.Reason
	}
	return &Error{Code: InvalidArgument, Message: strings.Join(reasons, "; "), Fields: fields}
}

// Because records the cause for the log; the caller never sees it.
func (e *Error) Because(cause error) *Error {
	e.cause = cause
	return e
}

// With adds a member. What is no JSON, as a channel, is left out.
func (e *Error) With(name string, value any) *Error {
	text, err := json.Marshal(value)
	if err != nil {
		return e
	}
	if e.Members == nil {
		e.Members = map[string]json.RawMessage{}
	}
	e.Members[name] = text
	return e
}

// Error is the code and the message, with the cause for the log.
func (e *Error) Error() string {
	text := string(e.Code) + ": " + e.Message
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// From finds the *Error in err. A foreign error becomes an Internal one that
// wraps it and says nothing about it, or OutcomeUnknown when the call's time was
// over. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return New(OutcomeUnknown, "the time was over before the call was done").Because(err)
	}
	return New(Internal, "an internal error").Because(err)
}

// CodeOf is the code of err; a foreign error is Internal, and nil has none.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return From(err).Code
}
