package lifecycle_test

import (
	"context"
	"errors"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
)

// A registration that cannot be withdrawn ends like this (transport.Announcement).
func TestAServeThatFailsWhileItIsStoppedIsReported(t *testing.T) {
	t.Parallel()
	stopped := make(chan struct{})
	stop := start(t, newService(t, config(), lifecycle.Part{
		Name:  "registration",
		Serve: func() error { <-stopped; return errBroken },
		Stop:  func(context.Context) error { close(stopped); return nil },
	}))
	if err := stop(); !errors.Is(err, errBroken) {
		t.Errorf("Run = %v, want the error of Serve", err)
	}
}
