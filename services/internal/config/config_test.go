package config_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/config"
)

type settings struct {
	RPC     string
	LogMode string
	Budget  time.Duration
	Demo    bool

	output io.Writer
}

func defaults() settings {
	return settings{RPC: "default", LogMode: "default", Budget: time.Second, output: io.Discard}
}

func (s *settings) Flags(fs *flag.FlagSet) {
	fs.SetOutput(s.output)
	fs.StringVar(&s.RPC, "rpc", s.RPC, "`address` for calls")
	fs.StringVar(&s.LogMode, "log-mode", s.LogMode, "json or text")
	fs.DurationVar(&s.Budget, "budget", s.Budget, "longest `time`")
	fs.BoolVar(&s.Demo, "demo", s.Demo, "put something in")
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsHoldWhenNothingIsGiven(t *testing.T) {
	t.Parallel()
	s := defaults()
	if err := config.Parse("item", &s, nil); err != nil {
		t.Fatal(err)
	}
	if s != defaults() {
		t.Errorf("settings = %+v, want the defaults", s)
	}
}

// t.Setenv forbids t.Parallel here and below.
func TestEachSourceOverridesTheOneBefore(t *testing.T) {
	for _, c := range []struct {
		name, file, env, flag, want string
	}{
		{name: "nothing", want: "default"},
		{name: "file", file: "file", want: "file"},
		{name: "environment", env: "env", want: "env"},
		{name: "flag", flag: "flag", want: "flag"},
		{name: "environment over file", file: "file", env: "env", want: "env"},
		{name: "flag over file", file: "file", flag: "flag", want: "flag"},
		{name: "flag over environment", env: "env", flag: "flag", want: "flag"},
		{name: "flag over all", file: "file", env: "env", flag: "flag", want: "flag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var args []string
			if c.file != "" {
				args = append(args, "-config", writeFile(t, "log-mode: "+c.file+"\n"))
			}
			if c.env != "" {
				t.Setenv("KITESHOP_LOG_MODE", c.env)
			}
			if c.flag != "" {
				args = append(args, "-log-mode", c.flag)
			}
			s := defaults()
			if err := config.Parse("item", &s, args); err != nil {
				t.Fatal(err)
			}
			want := defaults()
			want.LogMode = c.want
			if s != want {
				t.Errorf("settings = %+v, want %+v", s, want)
			}
		})
	}
}

func TestTheFileMayBeNamedInTheEnvironment(t *testing.T) {
	t.Setenv("KITESHOP_CONFIG", writeFile(t, "rpc: 127.0.0.1:1\nbudget: 3s\ndemo: true\n"))
	s := defaults()
	if err := config.Parse("item", &s, nil); err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.RPC, want.Budget, want.Demo = "127.0.0.1:1", 3*time.Second, true
	if s != want {
		t.Errorf("settings = %+v, want %+v", s, want)
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"a flag that does not exist", []string{"-speed", "9"}, "-speed"},
		{"a value of the wrong kind", []string{"-budget", "soon"}, `"soon" for flag -budget`},
		{"an argument that is no flag", []string{"-demo", "serve", "now"}, `item takes flags only, and was given ["serve" "now"]`},
		{"a file that does not exist", []string{"-config", "/does/not/exist.yaml"}, "/does/not/exist.yaml"},
		{"a key that does not exist", []string{"-config", writeFile(t, "rpc: x\nspeed: 9\n")}, `"speed"`},
		{"a key of a nested map", []string{"-config", writeFile(t, "log:\n  mode: text\n")}, `"log.mode"`},
		{"a value of the wrong kind in the file", []string{"-config", writeFile(t, "budget: soon\n")}, `"budget"`},
		{"a file that is not YAML", []string{"-config", writeFile(t, "rpc: [\n")}, "YAML"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := defaults()
			err := config.Parse("item", &s, c.args)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want one that says %s", err, c.want)
			}
		})
	}
}

func TestAnUnknownVariableIsNamedBesideTheKnownOnes(t *testing.T) {
	t.Setenv("KITESHOP_LOGMODE", "text")
	s := defaults()
	err := config.Parse("item", &s, nil)
	want := "the environment sets KITESHOP_LOGMODE, which is no setting of this program; " +
		"it knows KITESHOP_BUDGET, KITESHOP_CONFIG, KITESHOP_DEMO, KITESHOP_LOG_MODE, KITESHOP_RPC"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func TestAVariableOfTheWrongKindIsNamed(t *testing.T) {
	t.Setenv("KITESHOP_BUDGET", "soon")
	s := defaults()
	err := config.Parse("item", &s, nil)
	if err == nil || !strings.Contains(err.Error(), `"KITESHOP_BUDGET"`) {
		t.Errorf("error = %v, want one that names KITESHOP_BUDGET", err)
	}
}

func TestCheckEnvironmentTakesWhatAnyOfTheSetsKnows(t *testing.T) {
	t.Parallel()
	first, second := flag.NewFlagSet("first", flag.ContinueOnError), flag.NewFlagSet("second", flag.ContinueOnError)
	first.String("rpc", "", "")
	first.String("set-stock", "", "")
	second.String("rpc", "", "")
	for _, c := range []struct {
		name    string
		environ []string
		want    string
	}{
		{"known to one and to both", []string{"KITESHOP_RPC=a", "KITESHOP_SET_STOCK="}, ""},
		{"of other programs", []string{"PATH=/bin", "KITESHOPPER=1", "XKITESHOP_RPC=1", "MALFORMED"}, ""},
		{"unknown", []string{"KITESHOP_RPC=a", "KITESHOP_SPEED=9"}, "the environment sets KITESHOP_SPEED, which is no setting of this program; it knows KITESHOP_RPC, KITESHOP_SET_STOCK"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := config.CheckEnvironment(c.environ, first, second); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("error = %q, want %q", got, c.want)
			}
		})
	}
}

func TestHelpListsTheSettingsAndIsNoFailure(t *testing.T) {
	t.Parallel()
	var help bytes.Buffer
	s := defaults()
	s.output = &help
	if err := config.Parse("item", &s, []string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("error = %v, want flag.ErrHelp", err)
	}
	for _, want := range []string{"-config file", "-rpc address", "-log-mode", "-budget time", "-demo"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("help does not mention %q:\n%s", want, help.String())
		}
	}
}

func TestEffectiveListsTheValuesInForce(t *testing.T) {
	t.Parallel()
	s := defaults()
	if err := config.Parse("item", &s, []string{"-rpc", "127.0.0.1:9", "-demo"}); err != nil {
		t.Fatal(err)
	}
	var line bytes.Buffer
	log := slog.New(slog.NewTextHandler(&line, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 {
			return slog.Attr{} // time, level and message
		}
		return a
	}}))
	log.Info("", config.Effective(&s))
	want := "settings.budget=1s settings.demo=true settings.log-mode=default settings.rpc=127.0.0.1:9\n"
	if line.String() != want {
		t.Errorf("line = %q, want %q", line.String(), want)
	}
	if want := (settings{RPC: "127.0.0.1:9", LogMode: "default", Budget: time.Second, Demo: true, output: io.Discard}); s != want {
		t.Errorf("after Effective the settings are %+v, want %+v", s, want)
	}
}
