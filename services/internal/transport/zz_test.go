package transport_test
import ("testing";"net";"encoding/binary";"time";"fmt")
func TestZZ(t *testing.T){
 server := serveThrift(t, &trends{get: trending, viewed: nil})
 for _, size := range []uint32{0x7fffffff, 0xffffffff, 100_000_000} {
 body := []byte{0x80,1,0,1, 0,0,0,11}
 body = append(body, "GetTrending"...)
 body[15-4]=body[15-4]
 body = []byte{0x80,1,0,1, 0,0,0,10}
 body = append(body, "RecordView"...)
 body = append(body, 0,0,0,1, 12,0,1, 15,0,1, 12)
 body = binary.BigEndian.AppendUint32(body, size)
 frame := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
 frame = append(frame, body...)
 c,_ := net.Dial("tcp", server.Addr().String())
 c.Write(frame)
 c.SetReadDeadline(time.Now().Add(8*time.Second))
 b:=make([]byte,200); n,err:=c.Read(b); fmt.Printf("size %x: %q %v\n",size,b[:n],err)
 c.Close()
 }
}
