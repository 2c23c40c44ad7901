package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// commands runs the program at the root.
type commands struct {
	t       *testing.T
	program string
}

// do runs a command with lines of environment, and returns what it printed and its last line of complaint.
func (c commands) do(env []string, args ...string) (printed, complaint string) {
	c.t.Helper()
	cmd := exec.Command(c.program, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if (err != nil) != (lines[len(lines)-1] != "") {
		c.t.Errorf("%v: %v, and said %s", args, err, stderr.String())
	}
	return string(output), lines[len(lines)-1]
}

// key makes a key for the shop on dir.
func (c commands) key(dir, name, scopes string) (key, id string) {
	c.t.Helper()
	printed, complaint := c.do(nil, "key", "create", "-name", name, "-scopes", scopes, "-data", dir)
	key, _, _ = strings.Cut(printed, "\n")
	if complaint != "" || len(key) != 84 {
		c.t.Fatalf("%s\n%s", printed, complaint)
	}
	return key, strings.Split(key, "_")[1]
}

func bearer(key string) string { return "Authorization: Bearer " + key }

func TestTheFirstKeyClosesARunningShopToWrites(t *testing.T) {
	t.Parallel()
	c, dir := commands{t, build(t, "../..")}, t.TempDir()
	var log lockedBuffer
	cfg := config(dir)
	cfg.Gateway.Telemetry.Output = &log
	s := open(t, cfg)
	const movements, sale = "/api/v1/stock/1024/movements", `{"delta":-1,"reason":"sold"}`
	write := func(header ...string) int { return s.send("POST", movements, sale, header...).status }
	if got := write(); got != http.StatusCreated {
		t.Fatalf("without keys a write is answered %d", got)
	}
	if got := write(bearer("ks_0123456789abcdef_x")); got != http.StatusUnauthorized {
		t.Errorf("a key where there is none is answered %d", got)
	}

	printed, complaint := c.do(nil, "key", "create", "-name", "till", "-scopes", "read,write", "-data", dir)
	till, _, _ := strings.Cut(printed, "\n")
	if complaint != "" || !strings.Contains(printed, "It is the first one: from now on writes need a key, and reads stay open.\n") {
		t.Errorf("it says %s %s", printed, complaint)
	}
	eventually(t, "writes need a key", func() bool { return write() == http.StatusUnauthorized })
	if got := write(bearer(till)); got != http.StatusCreated {
		t.Errorf("with the key a write is answered %d", got)
	}
	s.send("GET", "/api/v1/stock/1024", "").want(t, http.StatusOK, nil)
	var refused struct {
		problem
		Scope string
	}
	s.send("DELETE", "/api/v1/items/1024", "", bearer(till)).want(t, http.StatusForbidden, &refused)
	if refused.Code != "permission_denied" || refused.Scope != "admin" {
		t.Errorf("refused with %+v", refused)
	}

	boss, bossID := c.key(dir, "boss", "admin")
	_, tillID, _ := strings.Cut(till, "_")
	tillID, _, _ = strings.Cut(tillID, "_")
	if _, complaint := c.do(nil, "key", "revoke", "-data", dir, tillID); complaint != "" {
		t.Error(complaint)
	}
	eventually(t, "the revoked key is refused", func() bool { return write(bearer(till)) == http.StatusUnauthorized })
	if got := s.send("GET", "/api/v1/stock/1024", "", bearer(till)); got.status != http.StatusUnauthorized || !strings.Contains(got.body, "the key "+tillID+" is revoked") {
		t.Errorf("reading with a revoked key: %+v", got)
	}
	if got := write(bearer(boss)); got != http.StatusCreated {
		t.Errorf("with the other key a write is answered %d", got)
	}
	if _, complaint := c.do(nil, "key", "revoke", "-data", dir, bossID); complaint != "" {
		t.Error(complaint)
	}
	eventually(t, "the last key is refused", func() bool { return write(bearer(boss)) == http.StatusUnauthorized })
	if got := write(); got != http.StatusUnauthorized {
		t.Errorf("when the last key is revoked a write is answered %d", got)
	}
	listed, _ := c.do(nil, "key", "list", "-data", dir)
	if lines := strings.Split(listed, "\n"); len(lines) != 4 || !strings.Contains(lines[1], tillID+"   till   read,write   2") || strings.Contains(lines[2], " -") {
		t.Errorf("listed are %s", listed)
	}
	if err := os.WriteFile(filepath.Join(dir, "api-keys.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the empty file is refused", func() bool {
		return strings.Contains(log.String(), "the file has no key; it must have one at least, which may be revoked")
	})
	if got := write(); got != http.StatusUnauthorized {
		t.Errorf("with an empty file a write is answered %d", got)
	}
	for _, key := range []string{till, boss} {
		if strings.Contains(log.String(), key) || strings.Contains(listed, key) {
			t.Errorf("a key is in the log, or listed: %s %s", listed, log.String())
		}
	}
	if !strings.Contains(log.String(), `"caller":"key/`+tillID+`"`) {
		t.Errorf("the caller is not in the log: %s", log.String())
	}
}

func TestAKeyInTheURLIsRefusedAndNotLogged(t *testing.T) {
	t.Parallel()
	const secret = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	var log lockedBuffer
	cfg := config(t.TempDir())
	cfg.Gateway.Telemetry.Output = &log
	t.Run("requests", func(t *testing.T) {
		s := open(t, cfg)
		for _, path := range []string{
			"/api/v1/items?q=ks_0123456789abcdef_" + secret, "/api/v1/items/ks_0123456789abcdef_" + secret, "/api/v1/items?access_token=" + secret,
			"/ks_0123456789abcdef_" + secret + "/x", "/api/v1/items?ks_0123456789abcdef_" + secret + "=1",
		} {
			got := s.send("GET", path, "").want(t, http.StatusBadRequest, nil)
			if strings.Contains(got.body, secret[:8]) || !strings.Contains(got.body, "it belongs in the header Authorization") {
				t.Errorf("%s is answered %s", path, got.body)
			}
		}
	})
	if text := log.String(); strings.Contains(text, secret[:8]) || strings.Count(text, `"status":400`) != 5 {
		t.Errorf("logged is %s", text)
	}
}

func TestTwoKeysMayHaveTheSameIdempotencyKey(t *testing.T) {
	t.Parallel()
	c, dir := commands{t, build(t, "../..")}, t.TempDir()
	ann, annID := c.key(dir, "ann", "write")
	bob, _ := c.key(dir, "bob", "write")
	s := open(t, config(dir))
	const movements, one = "/api/v1/stock/1024/movements", `{"delta":1,"reason":"received"}`
	key := "Idempotency-Key: " + strings.Repeat("x", 255)
	var first, again, other movement
	s.send("POST", movements, one, key, bearer(ann)).want(t, http.StatusCreated, &first)
	s.send("POST", movements, one, key, bearer(ann)).want(t, http.StatusCreated, &again)
	s.send("POST", movements, one, key, bearer(bob)).want(t, http.StatusCreated, &other)
	if again.ID != first.ID || other.ID == first.ID {
		t.Errorf("the movements are %d, %d and %d", first.ID, again.ID, other.ID)
	}
	var ledger struct {
		Items []struct {
			ID    int64
			Actor string
		}
	}
	s.send("GET", movements, "").want(t, http.StatusOK, &ledger)
	for _, m := range ledger.Items {
		if m.ID == first.ID && m.Actor != "key/"+annID {
			t.Errorf("the actor is %q", m.Actor)
		}
	}
}

func TestKeyCommandsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	c, dir := commands{t, build(t, "../..")}, t.TempDir()
	key, id := c.key(dir, "till", "write")
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("keys: [{id: x}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"kiteshop: key takes create, list or revoke, and was given []":                               {"key"},
		`kiteshop: key takes create, list or revoke, and was given ["delete"]`:                       {"key", "delete"},
		`kiteshop: name is ""; it must be 1 to 100 printable characters`:                             {"key", "create", "-data", dir, "-scopes", "read"},
		"kiteshop: scopes is empty; it must have one of read, write, admin":                          {"key", "create", "-data", dir, "-name", "x"},
		`kiteshop: scopes has "root"; there are read, write, admin`:                                  {"key", "create", "-data", dir, "-name", "x", "-scopes", "read,root"},
		`kiteshop: key create takes flags only, and was given ["x"]`:                                 {"key", "create", "-data", dir, "x"},
		"kiteshop: key revoke takes one id after its flags, which key list shows, and was given 0":   {"key", "revoke", "-data", dir},
		"kiteshop: key revoke takes the id alone, which is between the two _ of a key":               {"key", "revoke", "-data", dir, key},
		fmt.Sprintf("kiteshop: %s/api-keys.yaml has no key with the id %q", dir, id[1:]):             {"key", "revoke", "-data", dir, id[1:]},
		fmt.Sprintf("kiteshop: %s: keys[0]: id is \"x\"; it must be 16 hexadecimal digits", broken):  {"key", "list", "-api-keys", broken},
		"kiteshop: -key is a secret; give it in the environment, as KITESHOP_KEY, or in the file of": {"import", "-key", key, "x.csv"},
	} {
		if printed, complaint := c.do(nil, args...); printed != "" || !strings.HasPrefix(complaint, want) || strings.Contains(complaint, key) {
			t.Errorf("%v: %q %q, want %q", args, printed, complaint, want)
		}
	}
}

func TestAGatewayThatCannotStartSaysWhatIsWrongWithItsAccess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := commands{t, build(t, "../gateway/cmd")}
	cert, key := certificate(t, dir, 1)
	_, other := certificate(t, t.TempDir(), 2)
	for want, args := range map[string][]string{
		"kiteshop: tls-cert and tls-key belong together: give both or none":                                                                                                        {"-tls-cert", cert},
		"kiteshop: tls: open /nowhere: no such file or directory":                                                                                                                  {"-tls-cert", "/nowhere", "-tls-key", key},
		fmt.Sprintf("kiteshop: %s and %s: tls: private key does not match public key", cert, other):                                                                                {"-tls-cert", cert, "-tls-key", other},
		"kiteshop: api-keys: open /nowhere: no such file or directory":                                                                                                             {"-api-keys", "/nowhere"},
		`kiteshop: cors-origins has "*"; it must be as https://shop.example.com, in lower case, without a path and without *`:                                                      {"-cors-origins", "*"},
		"kiteshop: jwt-issuer, jwt-audience and jwks-url belong together: give all of them or none":                                                                                {"-jwt-issuer", "https://login.example.com"},
		`kiteshop: jwks-url is "http://login.example.com/jwks"; it must begin with https://, and may begin with http:// for this machine alone: who can change that answer can be`: {"-jwt-issuer", "x", "-jwt-audience", "x", "-jwks-url", "http://login.example.com/jwks"},
	} {
		ports := []string{"-http", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0"}
		if _, complaint := c.do(nil, append(ports, args...)...); !strings.HasPrefix(complaint, want) {
			t.Errorf("%v: %q, want %q", args, complaint, want)
		}
	}
}

// certificate writes one for this machine that is its own authority, and its key.
func certificate(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "shop"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// secure is a client that trusts the certificate in a file.
func secure(t *testing.T, cert string) *http.Client {
	t.Helper()
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(text)
	network := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}
	t.Cleanup(network.CloseIdleConnections)
	return &http.Client{Transport: network, Timeout: time.Minute}
}

func TestAShopWithTLSServesItsOwnProgramsAndStopsInOrder(t *testing.T) {
	t.Parallel()
	c, dir := commands{t, build(t, "../..")}, t.TempDir()
	cfg := config(dir)
	cfg.Gateway.Access.Certificate, cfg.Gateway.Access.Key = certificate(t, dir, 1)
	cert := cfg.Gateway.Access.Certificate
	boss, _ := c.key(dir, "boss", "admin")
	s, stop := openUntil(t, cfg)
	at := "https://" + s.Addr().String()
	if !strings.Contains(s.Banner(), "gateway   "+at+" ") {
		t.Errorf("it says %s", s.Banner())
	}
	printed, complaint := c.do([]string{"KITESHOP_KEY=" + boss}, "import", "-gateway", at, "-ca", cert, "testdata/products.csv")
	if printed != "9 rows: 7 items created, 0 updated, 0 unchanged, 0 errors\n" || complaint != "" {
		t.Errorf("import says %s %s", printed, complaint)
	}
	if _, complaint := c.do(nil, "import", "-gateway", at, "-ca", cert, "testdata/products.csv"); !strings.HasPrefix(complaint, "kiteshop: the shop refused the file: this takes a key with the scope admin") {
		t.Errorf("without a key import says %s", complaint)
	}
	if _, complaint := c.do([]string{"KITESHOP_KEY=" + boss}, "import", "-gateway", at, "testdata/products.csv"); !strings.Contains(complaint, "certificate signed by unknown authority") {
		t.Errorf("without -ca import says %s", complaint)
	}
	smoke := commands{t, build(t, "../../deploy/smoke")}
	if printed, complaint := smoke.do([]string{"KITESHOP_KEY=" + boss}, "-gateway", at, "-ca", cert); !strings.HasSuffix(printed, "deleted the item\n") {
		t.Errorf("smoke says %s %s", printed, complaint)
	}

	client := secure(t, cert)
	quiet, err := client.Get(at + "/api/v1/stock/1024")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, quiet.Body) // the connection is kept
	_ = quiet.Body.Close()
	if quiet.Header.Get("Strict-Transport-Security") != "max-age=31536000" {
		t.Errorf("headers %v", quiet.Header)
	}
	stream, err := client.Get(at + "/api/v1/stock/1024/watch")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	body := bufio.NewReader(stream.Body)
	if line, err := body.ReadString('\n'); err != nil || line != "retry: 2000\n" {
		t.Errorf("the stream begins with %q, %v", line, err)
	}
	stop() // fails the test if it takes too long
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
}

func TestACertificateIsReplacedWithoutARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(dir)
	cfg.Gateway.Access.Certificate, cfg.Gateway.Access.Key = certificate(t, dir, 1)
	var log lockedBuffer
	cfg.Gateway.Telemetry.Output = &log
	s := open(t, cfg)
	shown := func() int64 {
		conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // only looks at it
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if shown() != 1 {
		t.Errorf("it shows %d", shown())
	}
	certificate(t, dir, 2)
	eventually(t, "it shows the new one", func() bool { return shown() == 2 })
	if err := os.WriteFile(cfg.Gateway.Access.Key, []byte("half of a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the broken pair is refused", func() bool {
		return strings.Contains(log.String(), "a file is refused, what was read before it still holds") && strings.Contains(log.String(), "failed to find any PEM data in key input")
	})
	if shown() != 2 {
		t.Errorf("after a broken pair it shows %d", shown())
	}
	certificate(t, dir, 3)
	eventually(t, "it shows the third", func() bool { return shown() == 3 })
	if strings.Contains(log.String(), "half of a k") {
		t.Errorf("the key is in the log")
	}
}

func TestTokensOfAnIssuerAreTakenBesideKeys(t *testing.T) {
	t.Parallel()
	c, dir := commands{t, build(t, "../..")}, t.TempDir()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := jwkset.NewJWKFromKey(private.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "1"}})
	if err != nil {
		t.Fatal(err)
	}
	var there atomic.Bool
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !there.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{shown.Marshal()}})
	}))
	defer issuer.Close()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": issuer.URL, "aud": "kiteshop", "sub": "ann", "scope": "write", "exp": time.Now().Add(time.Hour).Unix()})
	token.Header["kid"] = "1"
	signed, err := token.SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	boss, _ := c.key(dir, "boss", "admin")
	cfg := config(dir)
	cfg.Gateway.Access.Tokens.Issuer, cfg.Gateway.Access.Tokens.Audience, cfg.Gateway.Access.Tokens.JWKS = issuer.URL, "kiteshop", issuer.URL+"/jwks"
	admins := adminPorts(t, &cfg)
	s := open(t, cfg)
	write := func(credential string) answer {
		return s.send("POST", "/api/v1/stock/1024/movements", `{"delta":1,"reason":"received"}`, bearer(credential))
	}
	if got := write(signed); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "1" || !strings.Contains(got.body, "the keys of their issuer are not known yet") {
		t.Errorf("with the issuer away a token is answered %+v", got)
	}
	write(boss).want(t, http.StatusCreated, nil)
	there.Store(true)
	eventually(t, "the token is taken", func() bool { return write(signed).status == http.StatusCreated })
	there.Store(false)
	write(signed).want(t, http.StatusCreated, nil)
	write(signed[:len(signed)-4]+"AAAA").want(t, http.StatusUnauthorized, nil)
	s.send("DELETE", "/api/v1/items/1024", "", bearer(signed)).want(t, http.StatusForbidden, nil)
	text := (client{t: t, base: "http://" + admins["gateway"]}).send("GET", "/metrics", "").body
	for _, want := range []string{"gateway_jwks_age_seconds{", `gateway_authentications_total{otel_scope_name="`, `files_wrong{file="api-keys",`} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
}
