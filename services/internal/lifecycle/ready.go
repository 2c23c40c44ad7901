package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// askTimeout is longer than the asked program's own look at its parts.
const askTimeout = 3 * readyTimeout

// askReady is `PROGRAM ready HOST:PORT`: it fails unless a service whose admin
// port that is says that it is ready. It is for health checks of containers,
// whose images have no program that could ask.
func askReady(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("ready takes the address of an admin port, as 127.0.0.1:9888")
	}
	if _, _, err := net.SplitHostPort(args[1]); err != nil {
		return fmt.Errorf("ready takes the address of an admin port, as 127.0.0.1:9888: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+args[1]+"/readyz", nil) //nolint:gosec // who starts the program says whom it asks
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request) //nolint:gosec // as above
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready: %s", args[1], strings.TrimSpace(string(text)))
	}
	return nil
}
