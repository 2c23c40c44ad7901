package lifecycle

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/cloudwego/hertz/pkg/common/hlog"
	"github.com/cloudwego/kitex/pkg/klog"
)

// Main is the whole of a program: run works until its ctx ends, which SIGINT
// and SIGTERM do; a second one kills. An error is printed and the exit code is 1.
func Main(run func(ctx context.Context, args []string) error) {
	frameworkLogs(os.Stderr)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "kiteshop:", err)
		os.Exit(1)
	}
}

// frameworkLogs makes Kitex and Hertz, which log through globals, write their
// warnings as the services do.
func frameworkLogs(output io.Writer) {
	lines := slog.NewLogLogger(slog.NewJSONHandler(output, nil), slog.LevelWarn).Writer()
	klog.SetLevel(klog.LevelWarn)
	klog.SetOutput(lines)
	hlog.SetLevel(hlog.LevelWarn)
	hlog.SetOutput(lines)
}
