package transport_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// listen takes connections, and hands each with its number, from 1, to handle.
func listen(t testing.TB, handle func(conn net.Conn, number int)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	all.Go(func() {
		for number := 1; ; number++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			go handle(conn, number)
		}
	})
	return ln.Addr().String()
}

// silent accepts and never answers.
func silent(t testing.TB) string {
	return listen(t, func(conn net.Conn, _ int) { _, _ = io.Copy(io.Discard, conn) })
}

// losing is a way to server that loses the answers on each connection that breaks says.
func losing(t testing.TB, server string, breaks func(number int) bool) string {
	return listen(t, func(conn net.Conn, number int) {
		defer conn.Close()
		to, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		defer to.Close()
		go func() {
			_, _ = io.Copy(to, conn)
			_ = to.Close()
		}()
		if breaks(number) {
			_, _ = to.Read(make([]byte, 1))
			return
		}
		_, _ = io.Copy(conn, to)
	})
}

func everySecond(number int) bool { return number%2 == 0 }

// counting is an item service that counts what it does, by the title that is made.
type counting struct {
	mu    sync.Mutex
	made  map[string]int
	reads atomic.Int64
	fault atomic.Pointer[fault.Error] // that it answers; nil: what was asked for
	every int64                       // read takes long; 0: each
}

func (c *counting) answer() error {
	if f := c.fault.Load(); f != nil {
		return f
	}
	return nil
}

func (c *counting) serve(t testing.TB, took time.Duration) string {
	server := serve(t, items{
		get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
			if read := c.reads.Add(1); took > 0 && (c.every == 0 || read%c.every == 0) {
				select {
				case <-time.After(took):
				case <-ctx.Done():
				}
			}
			return &item.GetItemResp{Item: &item.Item{Id: id}}, c.answer()
		},
		create: func(_ context.Context, fields *item.ItemFields) (*item.CreateItemResp, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.made[fields.GetTitle()]++
			return &item.CreateItemResp{Item: &item.Item{Title: fields.GetTitle()}}, c.answer()
		},
	})
	return server.Addr().String()
}

func newCounting() *counting {
	return &counting{made: map[string]int{}}
}
