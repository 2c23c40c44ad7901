package transport

import (
	"encoding/json"

	"github.com/cloudwego/kitex/pkg/kerrors"
	kitexstatus "github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/status"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// errorDomain says whose words the reason of an ErrorInfo is from.
const errorDomain = "kiteshop"

// grpcStatus says a fault in google.rpc's words: ErrorInfo has the code and the
// members, each of them JSON, and BadRequest the fields.
func grpcStatus(biz kerrors.BizStatusErrorIface) *status.Status {
	f := decodeStatus(biz)
	plain := status.New(statusCode(f.Code), f.Message)
	info := &errdetails.ErrorInfo{Reason: string(f.Code), Domain: errorDomain, Metadata: map[string]string{}}
	for name, member := range f.Members {
		info.Metadata[name] = string(member)
	}
	fields := &errdetails.BadRequest{}
	for _, field := range f.Fields {
		fields.FieldViolations = append(fields.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: field.Field, Description: field.Reason})
	}
	var detailed *status.Status
	var err error
	if len(fields.FieldViolations) > 0 {
		detailed, err = plain.WithDetails(info, fields)
	} else {
		detailed, err = plain.WithDetails(info)
	}
	if err != nil { // a text that is not UTF-8
		return plain
	}
	return detailed
}

// decodeBiz is decodeGRPC of what Kitex made of a status.
func decodeBiz(biz kerrors.BizStatusErrorIface) *fault.Error {
	from, ok := biz.(interface{ GRPCStatus() *kitexstatus.Status })
	if !ok {
		return fault.New("", "%s", biz.BizMessage())
	}
	return decodeGRPC(from.GRPCStatus())
}

// decodeGRPC is what grpcStatus was given, as a Kitex client sees it. Without a code it is another's.
func decodeGRPC(status *kitexstatus.Status) *fault.Error {
	f := fault.New("", "%s", status.Message())
	for _, detail := range status.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() != errorDomain {
				continue
			}
			f.Code = fault.Code(detail.GetReason())
			for name, member := range detail.GetMetadata() {
				f = f.With(name, json.RawMessage(member))
			}
		case *errdetails.BadRequest:
			for _, field := range detail.GetFieldViolations() {
				f.Fields = append(f.Fields, fault.Field{Field: field.GetField(), Reason: field.GetDescription()})
			}
		}
	}
	return f
}
