package lifecycle

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main is the whole of a program: run works until its ctx ends, which SIGINT
// and SIGTERM do; a second one kills. An error is printed and the exit code is 1.
// With the first argument ready, the program asks a running service instead.
func Main(run func(ctx context.Context, args []string) error) {
	log := newFrameworkLog(os.Stderr)
	ctx := context.WithValue(context.Background(), frameworkKey{}, log)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "ready" {
		run = askReady
	}
	err := keepWorkers(log)
	if err == nil {
		err = run(ctx, args)
	}
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "kiteshop:", err)
		os.Exit(1)
	}
}
