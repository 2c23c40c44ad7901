// Package sqldbtest runs a real PostgreSQL for tests: a process of its own that
// a test may kill, freeze and start again.
package sqldbtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	superuser = "kiteshop"
	password  = "correct horse" // of servers that live as long as a test
)

// Postgres is a server of its own.
type Postgres struct {
	t         testing.TB
	dir       string
	port      int
	cmd       *exec.Cmd
	databases atomic.Int64
}

// StartPostgres gives a server that answers. The test is skipped where no
// PostgreSQL is installed and none is required.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	p := &Postgres{t: t, port: freePort(t)}
	dir, err := os.MkdirTemp("", "postgres") //nolint:usetesting // the server's own user must reach it
	if err != nil {
		t.Fatal(err)
	}
	p.dir = dir
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(p.PasswordFile(), []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if credential := p.credential(); credential != nil {
		for _, path := range []string{dir, p.PasswordFile()} {
			if err := os.Chown(path, int(credential.Uid), int(credential.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	initdb := p.command("initdb", "--pgdata", p.data(), "--username", superuser, "--pwfile", p.PasswordFile(),
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")
	if output, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, output)
	}
	p.Start()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			text, _ := os.ReadFile(p.LogFile())
			t.Logf("PostgreSQL said:\n%s", text[max(0, len(text)-4000):])
		}
	})
	return p
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// LogFile is what the server writes.
func (p *Postgres) LogFile() string { return filepath.Join(p.dir, "log") }

// PasswordFile holds the password of the URLs.
func (p *Postgres) PasswordFile() string { return filepath.Join(p.dir, "password") }

// Address is where the server listens.
func (p *Postgres) Address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))
}

// Database makes an empty database and gives its URL for -store.
func (p *Postgres) Database() string {
	p.t.Helper()
	name := fmt.Sprintf("shop%d", p.databases.Add(1))
	conn, err := p.connect()
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(context.Background(), "CREATE DATABASE "+name); err != nil {
		p.t.Fatal(err)
	}
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable&password_file=%s", superuser, p.Address(), name, url.QueryEscape(p.PasswordFile()))
}

func (p *Postgres) connect() (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	source := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password), Host: p.Address(), Path: "/postgres", RawQuery: "sslmode=disable"}
	return pgx.Connect(ctx, source.String())
}

// Client is a program of PostgreSQL that finds the server in its environment, as pg_dump.
func (p *Postgres) Client(name string, args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := p.command(name, args...)
	cmd.Env = append(cmd.Env, "PGHOST=127.0.0.1", "PGPORT="+strconv.Itoa(p.port), "PGUSER="+superuser, "PGPASSWORD="+password)
	return cmd
}

// Start starts the server and waits until it answers.
func (p *Postgres) Start() {
	p.t.Helper()
	// A dead server's children keep its shared memory, which stops the next one, until they notice.
	deadline := time.Now().Add(time.Minute)
	for {
		p.launch()
		for {
			if conn, err := p.connect(); err == nil {
				_ = conn.Close(context.Background())
				return
			} else if time.Now().After(deadline) {
				p.t.Fatalf("PostgreSQL does not answer: %v", err)
			}
			if p.ended() {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func (p *Postgres) launch() {
	p.t.Helper()
	output, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer output.Close()
	p.cmd = p.command("postgres", "-D", p.data(), "-p", strconv.Itoa(p.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "log_min_messages=warning")
	p.cmd.Stdout, p.cmd.Stderr = output, output
	p.cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT // at once, with its children
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Postgres) ended() bool {
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WNOHANG, nil)
	return pid != 0 || err != nil
}

// Kill ends the server and its children without a word, as a crash does.
func (p *Postgres) Kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// Freeze stops all of the server where it is; Thaw lets it go on.
func (p *Postgres) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (p *Postgres) Thaw() { p.signal(syscall.SIGCONT) }

func (p *Postgres) signal(sig syscall.Signal) {
	p.t.Helper()
	pids, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, path := range slices.Backward(pids) { // children are groups of their own
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			p.t.Fatal(err)
		}
		if pid == p.cmd.Process.Pid || parent(path) == p.cmd.Process.Pid {
			_ = syscall.Kill(pid, sig)
		}
	}
}

// parent reads the parent of a process from its stat file, or gives 0.
func parent(stat string) int {
	text, err := os.ReadFile(stat)
	if err != nil {
		return 0
	}
	var (
		state string
		ppid  int
	)
	rest := text[bytes.LastIndexByte(text, ')')+1:] // after the program's name, which may contain anything
	if _, err := fmt.Sscan(string(rest), &state, &ppid); err != nil {
		return 0
	}
	return ppid
}

// command is a program of the server, run by a user that is not root, whom it refuses.
func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	p.t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil {
		p.t.Fatal(err)
	}
	if path, err := exec.LookPath(name); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		p.missing(name + " is missing")
	}
	cmd := exec.Command(found[len(found)-1], args...) //nolint:noctx // it ends with the test
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential(), Setpgid: true}
	return cmd
}

// missing ends a test that cannot have its server: it fails where servers are required.
func (p *Postgres) missing(what string) {
	p.t.Helper()
	if os.Getenv("TEST_SERVERS") == "required" {
		p.t.Fatal(what + ": apt-get install postgresql")
	}
	p.t.Skip(what + ": apt-get install postgresql")
}

func (p *Postgres) credential() *syscall.Credential {
	p.t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		p.missing("PostgreSQL refuses to run as root, and there is no user postgres")
	}
	uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		p.t.Fatal(err1, err2)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// freePort is below the range that the kernel gives to outgoing connections.
func freePort(t testing.TB) int {
	t.Helper()
	const lowest, highest = 12_000, 31_000
	for range 1000 {
		port := lowest + rand.IntN(highest-lowest) //nolint:gosec // it is no secret
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = ln.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}
