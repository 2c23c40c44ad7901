package transport

import (
	"time"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// NewServerWith is NewServer with other bounds of streams.
func NewServerWith(address string, tel *telemetry.Telemetry, open int64, silence, unread time.Duration) (*Server, error) {
	return newServer(address, nil, tel, streamLimits{open: open, silence: silence, unread: unread})
}
