package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/cloudwego/hertz/pkg/app/server"
	hertzconfig "github.com/cloudwego/hertz/pkg/common/config"
	"github.com/cloudwego/hertz/pkg/network/standard"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/gateway/internal/http"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// maxPEM bounds a file of a certificate or a key, in bytes.
const maxPEM = 1 << 20

// listen opens the port for HTTP, and says what Hertz needs to serve it. Netpoll
// has no TLS, so with it Hertz serves on Go's own network.
func listen(cfg Config, files *transport.Files, connections *http.Connections, tel *telemetry.Telemetry) (net.Listener, []hertzconfig.Option, error) {
	if cfg.Access.Certificate == "" {
		ln, err := transport.Listen("http", cfg.HTTP)
		return ln, nil, err
	}
	pair := &certificate{cert: cfg.Access.Certificate, key: cfg.Access.Key}
	if _, err := pair.reload(); err != nil {
		return nil, nil, err
	}
	files.Follow("tls", pair.reload)
	if err := pair.measure(cfg.Now, tel); err != nil {
		return nil, nil, err
	}
	ln, err := lifecycle.Listen("http", cfg.HTTP)
	if err != nil {
		return nil, nil, err
	}
	secured := http.ListenTLS(ln, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get})
	return secured, []hertzconfig.Option{server.WithTransport(standard.NewTransporter), server.WithOnAccept(connections.OnAccept)}, nil
}

// certificate is what two files have.
type certificate struct {
	cert, key string
	now       atomic.Pointer[tls.Certificate]

	seen    [2][]byte
	problem error // of what was seen
}

// get is for tls.Config.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil }

// reload reads the files if they are others than before. As long as they are
// wrong, or do not belong together, it fails and the certificate stays.
func (c *certificate) reload() (changed bool, err error) {
	var read [2][]byte
	for i, file := range []string{c.cert, c.key} {
		if read[i], err = readPEM(file); err != nil {
			c.seen = [2][]byte{}
			return false, fmt.Errorf("tls: %w", err)
		}
	}
	if c.seen[0] != nil && bytes.Equal(read[0], c.seen[0]) && bytes.Equal(read[1], c.seen[1]) {
		return false, c.problem
	}
	c.seen, c.problem = read, nil
	pair, err := tls.X509KeyPair(read[0], read[1])
	if err != nil {
		c.problem = fmt.Errorf("%s and %s: %w", c.cert, c.key, err)
		return false, c.problem
	}
	c.now.Store(&pair)
	return true, nil
}

func readPEM(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxPEM)
	}
	return text, err
}

// measure reports at each collection how long the certificate is still valid.
func (c *certificate) measure(now func() time.Time, tel *telemetry.Telemetry) error {
	left, err := tel.Meter.Float64ObservableGauge("gateway.tls.certificate.left", metric.WithUnit("s"),
		metric.WithDescription("Time until the certificate in use expires."))
	if err != nil {
		return err
	}
	_, err = tel.Meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		to.ObserveFloat64(left, c.now.Load().Leaf.NotAfter.Sub(now()).Seconds())
		return nil
	}, left)
	return err
}
