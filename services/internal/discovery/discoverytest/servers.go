// Package discoverytest runs real registry servers for tests: ZooKeeper, etcd and
// Nacos, each a process of its own that a test may kill, freeze and wipe.
package discoverytest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Patience is the longest that a test waits for what must come. Nothing waits
// that long in a good run, and runs of the contributed modules are not good.
func Patience() time.Duration {
	if os.Getenv("TEST_DRIVER") == "contrib" {
		return 40 * time.Second
	}
	return 3 * time.Minute
}

// Server is a real registry server, a process of its own on a port of its own.
type Server struct {
	Kind Kind
	dir  string
	Port int

	t    testing.TB
	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// Kind is what differs between the kinds of registries.
type Kind interface {
	Name() string
	// command runs the server in the foreground.
	command(t testing.TB, dir string, port int) *exec.Cmd
	// answers tells whether the server does.
	answers(port int) bool
	// query are the parameters that make the registry's URL quick enough for tests.
	query() string
	// Remove deletes what is registered, as an operator would.
	Remove(t testing.TB, port int, name, address string)
	// Malformed puts entries that no instance makes beside those of name.
	Malformed(t testing.TB, port int, name string)
}

// Kinds are the registries that the suite runs against. Nacos takes minutes, so
// it is asked for.
func Kinds() []Kind {
	kinds := []Kind{ZooKeeper{}, Etcd{}}
	if os.Getenv("TEST_NACOS") != "" {
		kinds = append(kinds, Nacos{})
	}
	return kinds
}

// need finds a program, and skips the test where servers are not demanded.
func need(t testing.TB, file, install string) string {
	t.Helper()
	path, err := exec.LookPath(file)
	if err != nil {
		if _, err := os.Stat(file); err == nil {
			return file
		}
		if os.Getenv("TEST_SERVERS") == "required" {
			t.Fatalf("%s is missing: %s", file, install)
		}
		t.Skipf("%s is missing: %s", file, install)
	}
	return path
}

// New gives a server that is not started yet.
func New(t testing.TB, kind Kind) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "registry") //nolint:usetesting // t.TempDir has the test's name in it, and Nacos dislikes commas
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &Server{Kind: kind, dir: dir, Port: freePort(t), t: t}
}

// Started gives a server that answers.
func Started(t testing.TB, kind Kind) *Server {
	t.Helper()
	s := New(t, kind)
	s.Start()
	return s
}

// freePort finds a port that is free with those beside it that Nacos and etcd
// use too. It is below the range that the kernel gives to outgoing connections.
func freePort(t testing.TB) int {
	t.Helper()
	const lowest, highest = 12_000, 31_000
	for range 1000 {
		port := lowest + rand.IntN(highest-lowest) //nolint:gosec // it is no secret
		if isFree(port-1000) && isFree(port) && isFree(port+1000) && isFree(port+1001) {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func isFree(port int) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// URL is that of the registry with more parameters.
func (s *Server) URL(more ...string) string {
	return s.Kind.Name() + "://" + s.Address() + "?" + strings.Join(append([]string{s.Kind.query()}, more...), "&")
}

// URLFor is the same for a user.
func (s *Server) URLFor(user string, more ...string) string {
	return strings.Replace(s.URL(more...), "://", "://"+user+"@", 1)
}

// Start starts the server and waits until it answers. On a busy machine Nacos
// gives up its own start when its store takes too long; then it is started again.
func (s *Server) Start() {
	s.t.Helper()
	s.Launch()
	tries := 1
	Eventually(s.t, "the "+s.Kind.Name()+" server answers", func() bool {
		if s.ended() && tries < 5 {
			s.Launch()
			tries++
		}
		return s.Kind.answers(s.Port)
	})
}

func (s *Server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Launch starts the server and does not wait for it.
func (s *Server) Launch() {
	s.t.Helper()
	cmd := s.Kind.command(s.t, s.dir, s.Port)
	output, err := os.OpenFile(filepath.Join(s.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	s.mu.Lock()
	s.cmd, s.done = cmd, done
	s.mu.Unlock()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if s.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(s.dir, "output"))
			s.t.Logf("the %s server said:\n%s", s.Kind.Name(), text[max(0, len(text)-4000):])
		}
	})
}

// Kill ends the server without a word.
func (s *Server) Kill() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Wipe deletes the data of a server that is killed.
func (s *Server) Wipe() {
	s.t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(s.dir, entry.Name())); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }
func (s *Server) Thaw()   { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Eventually polls: what is waited for happens in other processes.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience())
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ZooKeeper is Debian's ZooKeeper.
type ZooKeeper struct{}

func (ZooKeeper) Name() string { return "zookeeper" }

func (ZooKeeper) query() string {
	return "session_timeout=2s&refresh=300ms&leave_wait=300ms"
}

func (ZooKeeper) command(t testing.TB, dir string, port int) *exec.Cmd {
	t.Helper()
	java := need(t, "java", "apt-get install zookeeper")
	jar := need(t, "/usr/share/java/zookeeper.jar", "apt-get install zookeeper")
	conf := filepath.Join(dir, "zoo.cfg")
	text := fmt.Sprintf("tickTime=200\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=ruok\n",
		filepath.Join(dir, "data"), port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return exec.Command(java, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.log.dir="+dir,
		"-cp", jar, "org.apache.zookeeper.server.ZooKeeperServerMain", conf)
}

func (ZooKeeper) answers(port int) bool {
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte("ruok"))
	answer, _ := io.ReadAll(conn)
	return string(answer) == "imok"
}

func (ZooKeeper) Remove(t testing.TB, port int, name, address string) {
	t.Helper()
	conn := ZooKeeperClient(t, port)
	if err := conn.Delete("/"+name+"/"+address, -1); err != nil {
		t.Fatal(err)
	}
}

func (ZooKeeper) Malformed(t testing.TB, port int, name string) {
	t.Helper()
	conn := ZooKeeperClient(t, port)
	for node, data := range map[string]string{
		":::8888": `{"Weight":10,"Tags":null}`, "config": "x", "127.0.0.1:99999": `{}`, "127.0.0.1:7": "no json", "127.0.0.1:8": "",
	} {
		if _, err := conn.Create("/"+name+"/"+node, []byte(data), 0, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatal(err)
		}
	}
}

func ZooKeeperClient(t testing.TB, port int) *zk.Conn {
	t.Helper()
	conn, events, err := zk.Connect([]string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	for event := range events {
		if event.State == zk.StateHasSession {
			break
		}
	}
	return conn
}

// Etcd is Debian's etcd, with TLS and users if it is told to.
type Etcd struct{ TLS *Certificates }

func (Etcd) Name() string { return "etcd" }

func (Etcd) query() string {
	return "session_timeout=2s&refresh=300ms&leave_wait=300ms"
}

func (e Etcd) command(t testing.TB, dir string, port int) *exec.Cmd {
	t.Helper()
	etcd := need(t, "etcd", "apt-get install etcd-server")
	scheme, more := "http", []string{}
	if e.TLS != nil {
		scheme, more = "https", []string{"--cert-file", e.TLS.Cert, "--key-file", e.TLS.Key}
	}
	address := fmt.Sprintf("%s://127.0.0.1:%d", scheme, port)
	cmd := exec.Command(etcd, append([]string{
		"--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", address, "--advertise-client-urls", address,
		"--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", port+1000), "--initial-advertise-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", port+1000),
		"--initial-cluster", fmt.Sprintf("default=http://127.0.0.1:%d", port+1000), "--unsafe-no-fsync",
		"--heartbeat-interval", "50", "--election-timeout", "250", "--logger", "zap", "--log-level", "warn",
	}, more...)...)
	return cmd
}

func (e Etcd) answers(port int) bool {
	client, err := e.connect(port)
	if err != nil {
		return false
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err = client.Get(ctx, "any")
	return err == nil || strings.Contains(err.Error(), "user name is empty") // users are on
}

func (e Etcd) connect(port int) (*clientv3.Client, error) {
	cfg := clientv3.Config{Endpoints: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, Logger: zap.NewNop()}
	if e.TLS != nil {
		cfg.TLS = e.TLS.Config
	}
	return clientv3.New(cfg)
}

func (e Etcd) Client(t testing.TB, port int) *clientv3.Client {
	t.Helper()
	client, err := e.connect(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (e Etcd) Remove(t testing.TB, port int, name, address string) {
	t.Helper()
	resp, err := e.Client(t, port).Delete(t.Context(), "kitex/registry-etcd/"+name+"/"+address)
	if err != nil || resp.Deleted != 1 {
		t.Fatalf("deleted %v, %v; want 1", resp, err)
	}
}

func (e Etcd) Malformed(t testing.TB, port int, name string) {
	t.Helper()
	for key, value := range map[string]string{
		"config": "x", ":::8888": `{"network":"tcp","address":":::8888","weight":10}`, "empty": "", "portless": `{"address":"127.0.0.1"}`,
	} {
		if _, err := e.Client(t, port).Put(t.Context(), "kitex/registry-etcd/"+name+"/"+key, value); err != nil {
			t.Fatal(err)
		}
	}
}

// Nacos is a Nacos that .ci/nacos starts.
type Nacos struct{ Password string }

func (Nacos) Name() string { return "nacos" }

func (Nacos) query() string {
	return "refresh=300ms&leave_wait=3s" // it tells changes with a delay of its own
}

func (n Nacos) command(t testing.TB, dir string, port int) *exec.Cmd {
	t.Helper()
	need(t, "mvn", "apt-get install maven")
	cmd := exec.Command(fromRoot(t, ".ci/nacos"), dir, strconv.Itoa(port))
	cmd.Env = os.Environ()
	if n.Password != "" {
		cmd.Env = append(cmd.Env, "NACOS_AUTH=1", "NACOS_PASSWORD="+n.Password)
	}
	return cmd
}

func (n Nacos) answers(port int) bool {
	client := http.Client{Timeout: time.Second}
	if n.Password != "" { // the user is made after the server is ready
		resp, err := client.PostForm(fmt.Sprintf("http://127.0.0.1:%d/nacos/v3/auth/user/login", port),
			url.Values{"username": {"nacos"}, "password": {n.Password}})
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/nacos/v3/admin/core/state/readiness", port))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Remove cannot be done: Nacos lets nobody delete another client's instance. Who
// switches one off in the console means it, and it stays off.
func (Nacos) Remove(t testing.TB, _ int, _, _ string) {
	t.Skip("Nacos lets nobody delete another client's instance")
}

func (Nacos) Malformed(t testing.TB, _ int, _ string) {
	t.Skip("Nacos takes nothing that is malformed")
}

// fromRoot finds a file of the repository.
func fromRoot(t testing.TB, file string) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, file)
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("the tests do not run in the repository")
	return ""
}

// Certificates are a certificate for 127.0.0.1 and who has signed it.
type Certificates struct {
	CA, Cert, Key string // files
	Config        *tls.Config
}

func NewCertificates(t testing.TB) *Certificates {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kiteshop tests"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(cryptorand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &Certificates{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	for file, content := range map[string][]byte{c.CA: certPEM, c.Cert: certPEM, c.Key: keyPEM} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	c.Config = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	return c
}
