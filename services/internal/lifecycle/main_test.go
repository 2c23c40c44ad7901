package lifecycle_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudwego/hertz/pkg/common/hlog"
	"github.com/cloudwego/kitex/pkg/klog"
	"go.opentelemetry.io/otel"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
)

// program names in the environment what a process does that is the test binary.
const program = "LIFECYCLE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	programs := map[string]func(ctx context.Context, args []string) error{
		"fail": func(context.Context, []string) error { return errBroken },
		"help": func(context.Context, []string) error { return fmt.Errorf("parsing: %w", flag.ErrHelp) },
		"args": func(_ context.Context, args []string) error {
			fmt.Println(strings.Join(args, "|"))
			return nil
		},
		"wait": func(ctx context.Context, _ []string) error {
			fmt.Println("ready")
			<-ctx.Done()
			fmt.Println("stopping")
			return nil
		},
		"hang": func(ctx context.Context, _ []string) error {
			fmt.Println("ready")
			<-ctx.Done()
			fmt.Println("stopping")
			for {
				_, _ = os.Stdin.Read(make([]byte, 1))
			}
		},
		"log": func(ctx context.Context, _ []string) error {
			klog.Info("kitex works")
			klog.Warn("kitex worries")
			hlog.Info("hertz works")
			hlog.Warn("hertz worries")
			otel.Handle(errors.New("main_test.go:0: the baggage is heavy"))
			log := slog.New(slog.NewJSONHandler(os.Stdout, nil)).With("service", "item")
			service, err := lifecycle.New(log, lifecycle.Config{Admin: "127.0.0.1:0", Debug: "127.0.0.1:0", StopTimeout: time.Minute}, http.NotFoundHandler())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(ctx)
			service.Add(lifecycle.Part{Name: "work", Serve: func() error {
				klog.Errorf("kitex fails at %d", 7)
				cancel()
				<-ctx.Done()
				return nil
			}})
			_ = service.Run(ctx)
			return nil
		},
	}
	if run, ok := programs[os.Getenv(program)]; ok {
		lifecycle.Main(run)
		return
	}
	os.Exit(m.Run())
}

func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), program+"="+name)
	return cmd
}

func TestMainEndsAsItsWorkDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		program        string
		exit           int
		stdout, stderr string
	}{
		{"fail", 1, "", "kiteshop: the disk is full\n"},
		{"help", 0, "", ""},
		{"args", 0, "-a|b c\n", ""},
	} {
		t.Run(c.program, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			cmd := command(t, c.program, "-a", "b c")
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			if exit := cmd.ProcessState.ExitCode(); exit != c.exit || stdout.String() != c.stdout || stderr.String() != c.stderr {
				t.Errorf("exit code %d, output %q, errors %q; want %d, %q, %q", exit, &stdout, &stderr, c.exit, c.stdout, c.stderr)
			}
		})
	}
}

// interrupt starts a program, sends it a signal when it is ready and returns
// when it has noticed.
func interrupt(t *testing.T, name string, signal os.Signal) (cmd *exec.Cmd, stdout io.Reader) {
	t.Helper()
	cmd = command(t, name)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close() })
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(pipe)
	for _, want := range []string{"ready\n", "stopping\n"} {
		if line, err := lines.ReadString('\n'); line != want {
			t.Fatalf("line = %q (error %v), want %q", line, err, want)
		}
		if want == "ready\n" {
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
		}
	}
	return cmd, lines
}

func TestASignalEndsTheContextAndIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			cmd, stdout := interrupt(t, "wait", signal)
			if rest, err := io.ReadAll(stdout); err != nil || len(rest) > 0 {
				t.Errorf("further output = %q (error %v), want none", rest, err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the program ended with %v, want success", err)
			}
		})
	}
}

func TestAnotherSignalKillsAProgramThatHangs(t *testing.T) {
	t.Parallel()
	cmd, _ := interrupt(t, "hang", syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond) // the program may still be taking note of the first
	defer tick.Stop()
	for {
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case err := <-ended:
			if err == nil || err.Error() != "signal: interrupt" {
				t.Errorf("the program ended with %v, want signal: interrupt", err)
			}
			return
		case <-tick.C:
		}
	}
}

// TestTheFrameworksWarningsBecomeLinesOfTheLog has one process, whose log is at
// first nobody's, and then that of the service which runs in it.
func TestTheFrameworksWarningsBecomeLinesOfTheLog(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	cmd := command(t, "log")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	type line struct{ Level, Msg, Text, Service string }
	for output, want := range map[*bytes.Buffer][]line{
		&stderr: {{"WARN", "kitex", "kitex worries", ""}, {"WARN", "hertz", "hertz worries", ""}, {"WARN", "opentelemetry", "the baggage is heavy", ""}},
		&stdout: {{"ERROR", "kitex", "kitex fails at 7", "item"}},
	} {
		var lines []line
		for decoder := json.NewDecoder(output); decoder.More(); {
			var got line
			if err := decoder.Decode(&got); err != nil {
				t.Fatal(err)
			}
			if got.Text == "" {
				continue // of the service itself
			}
			place, text, _ := strings.Cut(got.Text, ": ")
			if !strings.HasPrefix(place, "main_test.go:") {
				t.Errorf("%q does not say where it is from", got.Text)
			}
			got.Text = text
			lines = append(lines, got)
		}
		if !slices.Equal(lines, want) {
			t.Errorf("the lines are %q, want %q", lines, want)
		}
	}
}
