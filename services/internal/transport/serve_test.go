package transport_test

import (
	"testing"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
)

func TestServeEndsWithoutErrorWhenItIsStopped(t *testing.T) {
	t.Parallel()
	for range 10 {
		server := newServer(t)
		if err := itemservice.RegisterService(server, &items{}); err != nil {
			t.Fatal(err)
		}
		part := server.Part()
		ended := make(chan error, 1)
		go func() { ended <- part.Serve() }()
		stopPart(t, part)
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

func TestAServerThatHasStoppedAnswersNoMore(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: titled("kite")})
	items := dial(t, server.Addr())
	if _, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7}); err != nil {
		t.Fatal(err)
	}
	if err := server.stop(); err != nil {
		t.Fatal(err)
	}
	if resp, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7}); err == nil {
		t.Errorf("it answers %v", resp)
	}
}
