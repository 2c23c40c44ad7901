package transport

import (
	"context"

	gothrift "github.com/cloudwego/gopkg/protocol/thrift"
	"github.com/cloudwego/kitex/pkg/remote"
	"github.com/cloudwego/kitex/pkg/remote/codec/perrors"
	"github.com/cloudwego/kitex/pkg/remote/codec/protobuf"
	"github.com/cloudwego/kitex/pkg/remote/codec/thrift"
	"github.com/cloudwego/kitex/pkg/serviceinfo"
)

// payloads reads and writes what is inside the frames. Thrift's lists and maps
// say how long they are, and generated code makes room before it looks whether
// they are: 60 bytes could ask for 100 GiB and end the process. So the lengths
// are compared with the bytes that are there first.
type payloads struct{ thrift, protobuf remote.PayloadCodec }

func newPayloads() payloads {
	return payloads{thrift: thrift.NewThriftCodec(), protobuf: protobuf.NewProtobufCodec()}
}

// Name implements remote.PayloadCodec.
func (payloads) Name() string { return "bounded" }

// Marshal implements remote.PayloadCodec.
func (p payloads) Marshal(ctx context.Context, message remote.Message, out remote.ByteBuffer) error {
	return p.of(message).Marshal(ctx, message, out)
}

// Unmarshal implements remote.PayloadCodec.
func (p payloads) Unmarshal(ctx context.Context, message remote.Message, in remote.ByteBuffer) error {
	codec := p.of(message)
	if size := message.PayloadLen(); codec == p.thrift && size > 0 { // of buffered messages, which have no size, Kitex looks itself
		payload, err := in.Peek(size)
		if err != nil {
			return perrors.NewProtocolError(err)
		}
		_, _, _, begin, err := gothrift.Binary.ReadMessageBegin(payload)
		if err == nil {
			_, err = gothrift.Binary.Skip(payload[begin:], gothrift.STRUCT)
		}
		if err != nil {
			return perrors.NewProtocolError(err)
		}
	}
	return codec.Unmarshal(ctx, message, in)
}

func (p payloads) of(message remote.Message) remote.PayloadCodec {
	if message.RPCInfo().Config().PayloadCodec() == serviceinfo.Thrift {
		return p.thrift
	}
	return p.protobuf
}
