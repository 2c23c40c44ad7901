package transport_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client"
	kitextransport "github.com/cloudwego/kitex/transport"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

const (
	// streams is the bound of one HTTP/2 connection, as README.md says it.
	streams = 128
	// patience bounds the wait for what takes the server's read timeout of 5 s, twice, on a busy machine.
	patience = 60 * time.Second
)

// serveAll starts a server with a Protobuf service, one that streams and a Thrift service.
func serveAll(t testing.TB, get func(context.Context, int64) (*item.GetItemResp, error)) *running {
	t.Helper()
	return serveAny(t, func(s *transport.Server) error {
		streaming := stocks{watch: countUp, sync: echo}
		return errors.Join(itemservice.RegisterService(s, &items{get: get}), streaming.register(s),
			activityservice.RegisterService(s, &trends{get: trending, viewed: make(chan []*activity.Record, 1000)}))
	}, nil)
}

// connect opens a connection that the test writes bytes to.
func connect(t testing.TB, server *running) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// wantBroken reads until the server breaks the connection off.
func wantBroken(t testing.TB, conn net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

// wantUnharmed makes a call over TTHeader and one over gRPC.
func wantUnharmed(t testing.TB, server *running) {
	t.Helper()
	if _, err := dial(t, server.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7}); err != nil {
		t.Errorf("a call over TTHeader: %v", err)
	}
	if _, err := dialKitexGRPC(t, server).GetItem(t.Context(), &item.GetItemReq{Id: 7}); err != nil {
		t.Errorf("a call over gRPC: %v", err)
	}
}

// record gives the bytes that a call begins with.
func record(t testing.TB, call func(address string)) []byte {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go call(ln.Addr().String())
	for {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		sent := make([]byte, 64<<10)
		n, err := conn.Read(sent)
		_ = conn.Close()
		switch {
		case err == nil:
			return sent[:n]
		case !errors.Is(err, io.EOF): // a client that found the connection slow dials again
			t.Fatal(err)
		}
	}
}

func ttHeaderFrame(t testing.TB) []byte {
	t.Helper()
	return record(t, func(address string) {
		if ours, err := itemservice.NewClient("item", client.WithHostPorts(address), client.WithTransportProtocol(kitextransport.TTHeaderFramed)); err == nil {
			_, _ = ours.GetItem(context.Background(), &item.GetItemReq{Id: 7})
		}
	})
}

// protobufFrame is a request in Kitex's own framing, without TTHeader.
func protobufFrame(t testing.TB) []byte {
	t.Helper()
	frame := ttHeaderFrame(t)
	return frame[beginOfProtobuf(frame):]
}

// beginOfProtobuf is where in a frame Kitex's own framing begins: with its length.
func beginOfProtobuf(frame []byte) int { return bytes.Index(frame, []byte{0x90, 1}) - 4 }

func thriftFrame(t testing.TB, protocol kitextransport.Protocol) []byte {
	t.Helper()
	return record(t, func(address string) {
		if ours, err := activityservice.NewClient("activity", client.WithHostPorts(address), client.WithTransportProtocol(protocol)); err == nil {
			_, _ = ours.GetTrending(context.Background(), &activity.GetTrendingReq{Limit: 7})
		}
	})
}

// thriftClaim is a framed request with a list, or a string, that is said to be size long and is not there.
func thriftClaim(framed, list bool, size uint32) []byte {
	claim := append([]byte{0x80, 1, 0, 1, 0, 0, 0, 10}, "RecordView\x00\x00\x00\x01\x0c\x00\x01"...)
	if list {
		claim = append(claim, 15, 0, 1, 12)
	} else {
		claim = append(claim, 11, 0, 9)
	}
	claim = binary.BigEndian.AppendUint32(claim, size)
	if !framed {
		return claim
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(claim))), claim...)
}

// http2Bytes is what an HTTP/2 client sends, frame by frame.
func http2Bytes(frames func(*http2.Framer)) []byte {
	var sent bytes.Buffer
	sent.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&sent, nil)
	framer.AllowIllegalWrites = true
	_ = framer.WriteSettings()
	frames(framer)
	return sent.Bytes()
}

// call writes the headers of a call of GetItem.
func call(framer *http2.Framer, stream uint32) { callPath(framer, stream, getItem) }

func callPath(framer *http2.Framer, stream uint32, path string, more ...[2]string) {
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: headers(path, more...), EndHeaders: true})
}

func headers(path string, more ...[2]string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range append([][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", "/" + path}, {":authority", "shop"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	}, more...) {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	return block.Bytes()
}

// request is GetItem(7) as a gRPC message.
const request = "\x00\x00\x00\x00\x02\x08\x07"

// hostileFrames are requests that nobody can answer, by what is wrong with them.
func hostileFrames(t testing.TB) map[string][]byte {
	t.Helper()
	ttHeader := ttHeaderFrame(t)
	long := bytes.Clone(ttHeader)
	binary.BigEndian.PutUint32(long, math.MaxInt32)
	binary.BigEndian.PutUint32(long[beginOfProtobuf(long):], math.MaxInt32)
	longHeader := bytes.Clone(ttHeader)
	binary.BigEndian.PutUint16(longHeader[12:], math.MaxUint16)
	protobuf := protobufFrame(t)
	longProtobuf := bytes.Clone(protobuf)
	binary.BigEndian.PutUint32(longProtobuf, math.MaxInt32)
	framed := thriftFrame(t, kitextransport.Framed)
	longFramed := bytes.Clone(framed)
	binary.BigEndian.PutUint32(longFramed, math.MaxInt32)
	return map[string][]byte{
		"garbage":                         []byte("\x17garbage that is no protocol at all"),
		"a byte":                          {0},
		"HTTP/1":                          []byte("GET / HTTP/1.1\r\nHost: shop\r\n\r\n"),
		"TTHeader, 2 GB":                  long,
		"TTHeader, 2 GB, no more":         long[:8],
		"TTHeader, a header too long":     longHeader,
		"TTHeader, cut":                   ttHeader[:len(ttHeader)-1],
		"Protobuf, 2 GB":                  longProtobuf,
		"Protobuf, cut":                   protobuf[:len(protobuf)-1],
		"Thrift framed, 2 GB":             longFramed,
		"Thrift framed, cut":              framed[:len(framed)-1],
		"Thrift framed, a list of 2^31":   thriftClaim(true, true, math.MaxInt32),
		"Thrift framed, a list of -1":     thriftClaim(true, true, math.MaxUint32),
		"Thrift framed, 2 GB of text":     thriftClaim(true, false, math.MaxInt32),
		"Thrift buffered, a list of 2^31": thriftClaim(false, true, math.MaxInt32),
		"Thrift buffered, 2 GB of text":   thriftClaim(false, false, math.MaxInt32),
		"HTTP/2, half a preface":          []byte(http2.ClientPreface[:12]),
		"HTTP/2, a wrong preface":         []byte(http2.ClientPreface[:12] + strings.Repeat("x", 100)),
		"HTTP/2, no settings":             []byte(http2.ClientPreface),
		"HTTP/2, a frame of 16 MB": http2Bytes(func(f *http2.Framer) {
			call(f, 1)
			_ = f.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1<<24-1))
		}),
		"HTTP/2, headers without end": http2Bytes(func(f *http2.Framer) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers(getItem)})
			for range 1000 {
				_ = f.WriteContinuation(1, false, bytes.Repeat([]byte{0x00, 1, 'a', 1, 'b'}, 3000))
			}
		}),
		"HTTP/2, a stream of an even number": http2Bytes(func(f *http2.Framer) { call(f, 2) }),
		"HTTP/2, a frame of a wrong size":    http2Bytes(func(f *http2.Framer) { _ = f.WriteRawFrame(http2.FramePing, 0, 0, []byte("x")) }),
	}
}

// heapGrowth is how much larger the heap became while work ran. Nothing else may run meanwhile.
func heapGrowth(work func()) (growth uint64) {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	before := read()
	done := make(chan struct{})
	go func() {
		work()
		close(done)
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		growth = max(growth, max(read(), before)-before)
		select {
		case <-tick.C:
		case <-done:
			return growth
		}
	}
}

const megabyte = 1 << 20

// It is not parallel, because it measures the heap.
func TestMalformedInputIsRefusedInLittleMemoryAndHarmsNobody(t *testing.T) {
	server := serveAll(t, titled("kite"))
	hostile := hostileFrames(t)
	growth := heapGrowth(func() {
		var all sync.WaitGroup
		for name, sent := range hostile {
			conn := connect(t, server)
			all.Go(func() {
				_, _ = conn.Write(sent) // it may be broken off before all is sent
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: the connection is still open", name)
				}
			})
		}
		wantUnharmed(t, server)
		all.Wait()
	})
	wantUnharmed(t, server)
	if growth > 64*megabyte {
		t.Errorf("the heap grew by %d MB, want at most 64", growth/megabyte)
	}
	if refused := metricSum(t, server, `rpc_server_connections_refused_total\{.*reason="malformed".*\}`); refused < 10 {
		t.Errorf("%v connections were counted as malformed", refused)
	}
}

// It is not parallel, because it measures the heap.
func TestALongMessageOverGRPCIsRefusedBeforeItComes(t *testing.T) {
	server := serveAll(t, titled("kite"))
	conn := connect(t, server)
	growth := heapGrowth(func() {
		_, _ = conn.Write(http2Bytes(func(f *http2.Framer) {
			call(f, 1)
			_ = f.WriteData(1, false, []byte("\x00\x7f\xff\xff\xff"))
		}))
		if got := readTrailers(t, conn, 1)[0]; got != "8" { // ResourceExhausted
			t.Errorf("grpc-status = %s, want 8", got)
		}
	})
	if growth > 16*megabyte {
		t.Errorf("the heap grew by %d MB, want at most 16", growth/megabyte)
	}
	wantUnharmed(t, server)
}

// readTrailers reads until so many streams have ended with a grpc-status, or, as "refused", without.
func readTrailers(t testing.TB, conn net.Conn, count int) (statuses []string) {
	framer := http2.NewFramer(io.Discard, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for len(statuses) < count {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Errorf("after %d of %d streams: %v", len(statuses), count, err)
			return append(statuses, make([]string, count-len(statuses))...)
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range frame.RegularFields() {
				if field.Name == "grpc-status" {
					statuses = append(statuses, field.Value)
				}
			}
		case *http2.RSTStreamFrame:
			if frame.ErrCode == http2.ErrCodeRefusedStream {
				statuses = append(statuses, "refused")
			}
		}
	}
	return statuses
}

func TestAThousandStreamsThatSendNothingAreBoundedAndEnd(t *testing.T) {
	t.Parallel()
	const count = 1000
	server := serveAll(t, titled("kite"))
	conn := connect(t, server)
	if _, err := conn.Write(http2Bytes(func(f *http2.Framer) {
		for i := range uint32(count) {
			call(f, 2*i+1)
		}
	})); err != nil {
		t.Fatal(err)
	}
	wantUnharmed(t, server)
	ends := map[string]int{}
	for _, end := range readTrailers(t, conn, count) {
		ends[end]++
	}
	if ends["refused"] != count-streams || ends["4"] != streams { // DeadlineExceeded
		t.Errorf("streams ended as %v, want %d refused and %d with status 4", ends, count-streams, streams)
	}
	wantUnharmed(t, server)
}

func TestAClientThatNeverReadsGetsABoundedNumberOfAnswers(t *testing.T) {
	t.Parallel()
	const count = 1000
	var calls atomic.Int64
	server := serveAll(t, func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		if id != 8 {
			return titled("kite")(ctx, id)
		}
		calls.Add(1)
		return titled(strings.Repeat("x", 100_000))(ctx, id) // more than a stream's window
	})
	conn := connect(t, server)
	if _, err := conn.Write(http2Bytes(func(f *http2.Framer) {
		for i := range uint32(count) {
			call(f, 2*i+1)
			_ = f.WriteData(2*i+1, true, []byte("\x00\x00\x00\x00\x02\x08\x08"))
		}
		_ = f.WritePing(false, [8]byte{})
	})); err != nil {
		t.Fatal(err)
	}
	wantUnharmed(t, server)
	framer := http2.NewFramer(io.Discard, conn)
	for refused := 0; refused < count-streams; {
		frame, err := framer.ReadFrame() // without an update of the window
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := frame.(*http2.RSTStreamFrame); ok {
			refused++
		}
	}
	await(t, func() bool { return calls.Load() == streams })
	wantUnharmed(t, server)
}

func TestAByteASecondIsTooSlow(t *testing.T) {
	t.Parallel()
	server := serveAll(t, titled("kite"))
	for name, slow := range map[string][]byte{
		"TTHeader":        ttHeaderFrame(t),
		"Protobuf":        protobufFrame(t),
		"Thrift framed":   thriftFrame(t, kitextransport.Framed),
		"Thrift buffered": thriftFrame(t, kitextransport.PurePayload),
		"HTTP/2":          []byte(http2.ClientPreface),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := connect(t, server)
			go func() {
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				for _, b := range slow {
					if _, err := conn.Write([]byte{b}); err != nil {
						return
					}
					<-tick.C
				}
			}()
			wantBroken(t, conn)
			wantUnharmed(t, server)
		})
	}
	t.Run("a message over gRPC", func(t *testing.T) {
		t.Parallel()
		conn := connect(t, server)
		_, _ = conn.Write(http2Bytes(func(f *http2.Framer) {
			call(f, 1)
			_ = f.WriteData(1, false, []byte("\x00\x00\x00\x10\x00"))
		}))
		go func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			framer := http2.NewFramer(conn, nil)
			for range 100 {
				if framer.WriteData(1, false, []byte{0}) != nil {
					return
				}
				<-tick.C
			}
		}()
		if got := readTrailers(t, conn, 1)[0]; got != "4" { // DeadlineExceeded
			t.Errorf("grpc-status = %s, want 4", got)
		}
		wantUnharmed(t, server)
		_ = conn.Close()
	})
}

// It is not parallel, because it measures the heap.
func TestAConnectionThatSendsAheadWithoutEndIsBrokenOff(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server := serveAll(t, func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		first := false
		once.Do(func() { first = true })
		if first {
			close(began)
			<-goOn
		}
		return titled("kite")(ctx, id)
	})
	conn := connect(t, server)
	if _, err := conn.Write(ttHeaderFrame(t)); err != nil {
		t.Fatal(err)
	}
	<-began
	const limit = 2 << 30
	sent := 0
	chunk := make([]byte, megabyte)
	growth := heapGrowth(func() {
		for sent < limit {
			n, err := conn.Write(chunk)
			sent += n
			if err != nil {
				break
			}
		}
	})
	wantUnharmed(t, server)
	close(goOn)
	if sent >= limit || growth > 768*megabyte {
		t.Errorf("%d MB could be sent, and the heap grew by %d MB", sent/megabyte, growth/megabyte)
	}
	t.Logf("%d MB could be sent, and the heap grew by %d MB", sent/megabyte, growth/megabyte)
	if refused := metricSum(t, server, `rpc_server_connections_refused_total\{.*reason="flood".*\}`); refused != 1 {
		t.Errorf("%v connections were counted as floods, want 1", refused)
	}
}

// fuzz sends what it is given to a port that must not mind.
func fuzz(f *testing.F, seeds ...[]byte) {
	f.Helper()
	for _, seed := range seeds {
		f.Add(seed)
		f.Add(seed[:len(seed)/2])
		f.Add(append(bytes.Clone(seed), seed...))
		f.Add(append(bytes.Clone(seed), "garbage"...))
	}
	server := serveAll(f, titled("kite"))
	healthy := dial(f, server.Addr())
	f.Fuzz(func(t *testing.T, sent []byte) {
		conn := connect(t, server)
		_, _ = conn.Write(sent)
		_ = conn.CloseWrite()
		wantBroken(t, conn)
		if _, err := healthy.GetItem(t.Context(), &item.GetItemReq{Id: 7}); err != nil {
			t.Errorf("a call of another client: %v", err)
		}
	})
}

func FuzzTTHeader(f *testing.F) {
	fuzz(f, ttHeaderFrame(f), thriftFrame(f, kitextransport.TTHeader), thriftFrame(f, kitextransport.TTHeaderFramed))
}

func FuzzProtobuf(f *testing.F) { fuzz(f, protobufFrame(f)) }

func FuzzThrift(f *testing.F) {
	fuzz(f, thriftFrame(f, kitextransport.Framed), thriftFrame(f, kitextransport.PurePayload),
		thriftClaim(true, true, math.MaxInt32), thriftClaim(false, true, 1000))
}

func FuzzHTTP2(f *testing.F) {
	fuzz(f, http2Bytes(func(f *http2.Framer) {
		call(f, 1)
		_ = f.WriteData(1, true, []byte(request))
	}), http2Bytes(func(f *http2.Framer) {
		callPath(f, 1, watchStock)
		_ = f.WriteData(1, true, []byte("\x00\x00\x00\x00\x02\x10\x07"))
		callPath(f, 3, syncStock)
		_ = f.WriteData(3, false, []byte("\x00\x00\x00\x00\x02\x10\x07\x00\x00\x00\x00\x02\x10\x08"))
		_ = f.WriteData(3, true, emptyRequest)
	}), http2Bytes(func(f *http2.Framer) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers(getItem)[:5]})
		_ = f.WriteContinuation(1, true, headers(getItem)[5:])
		_ = f.WriteData(1, false, []byte("\x01\x00\x00\x00\x02\x08\x07"))
		_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
		_ = f.WriteWindowUpdate(0, 1<<20)
		_ = f.WritePing(false, [8]byte{})
		_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
	}))
}
