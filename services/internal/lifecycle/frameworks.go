package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"github.com/cloudwego/gopkg/concurrency/gopool"
	"github.com/cloudwego/hertz/pkg/common/hlog"
	"github.com/cloudwego/kitex/pkg/klog"
	"github.com/cloudwego/netpoll"
	"go.opentelemetry.io/otel"
)

// frameworkLog takes what Kitex, Hertz and OpenTelemetry say, who log through
// globals: the process has one, and what they say is of no request that is known.
type frameworkLog struct{ to atomic.Pointer[slog.Logger] }

type frameworkKey struct{}

// newFrameworkLog makes them write their warnings and errors to output, and to the log of a service of this process as soon as one runs.
func newFrameworkLog(output io.Writer) *frameworkLog {
	log := &frameworkLog{}
	log.to.Store(slog.New(slog.NewJSONHandler(output, nil)))
	klog.SetLevel(klog.LevelWarn)
	klog.SetOutput(frameworkLines{log, "kitex"})
	hlog.SetLevel(hlog.LevelWarn)
	hlog.SetOutput(frameworkLines{log, "hertz"})
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { // as of baggage that is too large
		log.to.Load().Warn("opentelemetry", "text", err.Error())
	}))
	return log
}

// keepWorkers lets Netpoll work on requests in goroutines that stay for a minute. Its own end
// when there is nothing to do, and growing the stacks of new ones takes a tenth of the time of a read.
func keepWorkers(log *frameworkLog) error {
	workers := gopool.NewGoPool("requests", nil)
	workers.SetPanicHandler(func(ctx context.Context, reason any) {
		log.to.Load().ErrorContext(ctx, "panic", "text", fmt.Sprint(reason), "stack", string(debug.Stack()))
	})
	return netpoll.Configure(netpoll.Config{Runner: workers.CtxGo, LoadBalance: netpoll.RoundRobin, LoggerOutput: frameworkLines{log, "netpoll"}})
}

// adoptFrameworks makes what they say lines of log, if Main started this process.
func adoptFrameworks(ctx context.Context, log *slog.Logger) {
	if frameworks, ok := ctx.Value(frameworkKey{}).(*frameworkLog); ok {
		frameworks.to.Store(log)
	}
}

// frameworkLines are those of one of them. All have the same message, so that
// they are limited together: their texts differ each time.
type frameworkLines struct {
	log  *frameworkLog
	name string
}

// Write implements io.Writer. A line is as "2026/11/22 22:14:00.000000 file.go:7: [Error] the text".
func (l frameworkLines) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	level := slog.LevelWarn
	if before, after, found := strings.Cut(text, "["); found {
		name, rest, _ := strings.Cut(after, "] ")
		if name == "Error" || name == "Fatal" {
			level = slog.LevelError
		}
		_, at, _ := strings.Cut(strings.TrimSpace(before), " ") // without the day
		if _, place, timed := strings.Cut(at, " "); timed {     // and the time
			text = place + " " + rest
		}
	}
	l.log.to.Load().Log(context.Background(), level, l.name, "text", text)
	return len(line), nil
}
