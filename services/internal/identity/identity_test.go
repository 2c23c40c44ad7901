package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// noon is when the tests begin.
func noon() time.Time { return time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC) }

// clock is what a test says the time is.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a directory with keys and certificates, and a clock.
type world struct {
	t     *testing.T
	dir   string
	clock *clock
}

func newWorld(t *testing.T, services ...string) world {
	t.Helper()
	w := world{t, t.TempDir(), &clock{now: noon()}}
	for _, service := range services {
		w.make(service)
	}
	return w
}

// make gives service a new key and, in a file of its own, a certificate.
func (w world) make(service string) {
	w.t.Helper()
	key, certificate, err := Make(service, w.clock.Now(), 30)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(service+".key", key)
	w.write(service+".crt", certificate)
}

func (w world) write(name string, text []byte) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), text, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) read(name string) []byte {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func (w world) open(service string) *Identity {
	w.t.Helper()
	id, err := Open(service, Config{Key: w.dir, Trust: w.dir}, w.clock.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func bearer(t *testing.T, of *Identity, audience string) string {
	t.Helper()
	token, err := of.Bearer(audience)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// refused is the reason for which id refuses a token, or who it takes it to be from.
func refused(id *Identity, token string) string {
	caller, err := id.Verify(token)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return string(refusal.Reason)
	}
	return caller
}

func TestATokenSaysWhoCallsWhom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gateway", "stock", "item")
	token := bearer(t, w.open("gateway"), "stock")
	if got := refused(w.open("stock"), token); got != "gateway" {
		t.Errorf("stock takes it to be from %s", got)
	}
	if got := refused(w.open("item"), token); got != "audience" {
		t.Errorf("item, for which it is not, takes it as %s", got)
	}
	claims := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser().ParseUnverified(strings.TrimPrefix(token, "Bearer "), claims)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header["alg"] != "EdDSA" || parsed.Header["kid"] != w.open("gateway").Report().Key {
		t.Errorf("the header is %v", parsed.Header)
	}
	if claims["iss"] != "gateway" || claims["exp"].(float64)-claims["iat"].(float64) != 60 || len(claims) != 4 {
		t.Errorf("the claims are %v", claims)
	}
}

func TestATokenIsReusedUntilAThirdOfItsLifeIsLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gateway", "stock")
	gateway := w.open("gateway")
	first := bearer(t, gateway, "stock")
	if bearer(t, gateway, "item") == first {
		t.Error("two services are given the same")
	}
	w.clock.add(39 * time.Second)
	if bearer(t, gateway, "stock") != first {
		t.Error("after 39 s it is another")
	}
	w.clock.add(time.Second)
	if bearer(t, gateway, "stock") == first {
		t.Error("after 40 s it is the same")
	}
}

func TestATokenIsTakenFor60SecondsAndTheClocksMayBe10SecondsApart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{-11 * time.Second, "future"}, {-10 * time.Second, "gateway"}, {0, "gateway"}, {60 * time.Second, "gateway"}, {69 * time.Second, "gateway"}, {70 * time.Second, "expired"},
	} {
		t.Run(c.after.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "gateway", "stock")
			stock, token := w.open("stock"), bearer(t, w.open("gateway"), "stock")
			w.clock.add(c.after)
			if got := refused(stock, token); got != c.want {
				t.Errorf("it is taken as %s, want %s", got, c.want)
			}
		})
	}
}

func TestATokenThatWasTakenIsRefusedWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gateway", "stock")
	stock, token := w.open("stock"), bearer(t, w.open("gateway"), "stock")
	for range 3 {
		if got := refused(stock, token); got != "gateway" {
			t.Fatalf("it is taken as %s", got)
		}
	}
	w.clock.add(70 * time.Second)
	if got := refused(stock, token); got != "expired" {
		t.Errorf("after 70 s it is taken as %s", got)
	}
}

// forge signs claims as somebody else might.
func forge(t *testing.T, method jwt.SigningMethod, key any, kid any, claims jwt.Claims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = kid
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + signed
}

func TestWhatIsNoTokenOfATrustedServiceIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gateway", "stock", "item")
	gateway, stock := w.open("gateway"), w.open("stock")
	own, kid := gateway.keys.Load().own, gateway.Report().Key
	public, _ := own.Public().(ed25519.PublicKey)
	stranger := newWorld(t, "gateway").open("gateway")
	good := bearer(t, gateway, "stock")
	claims := func(change func(c *jwt.RegisteredClaims)) jwt.RegisteredClaims {
		c := jwt.RegisteredClaims{
			Issuer: "gateway", Audience: jwt.ClaimStrings{"stock"}, IssuedAt: jwt.NewNumericDate(noon()), ExpiresAt: jwt.NewNumericDate(noon().Add(time.Minute)),
		}
		change(&c)
		return c
	}
	same := claims(func(*jwt.RegisteredClaims) {})
	signed := func(change func(c *jwt.RegisteredClaims)) string {
		return forge(t, jwt.SigningMethodEdDSA, own, kid, claims(change))
	}
	body := good[:strings.LastIndexByte(good, '.')+1]
	for _, c := range []struct{ name, token, want string }{
		{"what it should be", signed(func(*jwt.RegisteredClaims) {}), "gateway"},
		{"the scheme in small letters", "bearer" + strings.TrimPrefix(good, "Bearer"), "gateway"},
		{"nothing", "", "malformed"},
		{"no scheme", strings.TrimPrefix(good, "Bearer "), "malformed"},
		{"another scheme", "Basic Z2F0ZXdheTpodW50ZXIy", "malformed"},
		{"garbage", "Bearer \x00\xff.\xfe.garbage", "malformed"},
		{"64 KiB", "Bearer " + strings.Repeat("a", 64<<10), "malformed"},
		{"twice", good + ", " + good, "malformed"},
		{"two in one", good + "." + strings.TrimPrefix(good, "Bearer "), "malformed"},
		{"a changed signature", body + strings.Repeat("A", 86), "forged"},
		{"the key of a stranger", bearer(t, stranger, "stock"), "unknown_key"},
		{"the key of a stranger under a known name", forge(t, jwt.SigningMethodEdDSA, stranger.keys.Load().own, kid, same), "forged"},
		{"no key's name", forge(t, jwt.SigningMethodEdDSA, own, nil, same), "unknown_key"},
		{"a key's name that is no text", forge(t, jwt.SigningMethodEdDSA, own, 7, same), "unknown_key"},
		{"alg none", forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid, same), "forged"},
		{"HS256 with the public key", forge(t, jwt.SigningMethodHS256, []byte(public), kid, same), "forged"},
		{"another's name", signed(func(c *jwt.RegisteredClaims) { c.Issuer = "item" }), "forged"},
		{"no name", signed(func(c *jwt.RegisteredClaims) { c.Issuer = "" }), "forged"},
		{"for nobody", signed(func(c *jwt.RegisteredClaims) { c.Audience = nil }), "malformed"},
		{"for two", signed(func(c *jwt.RegisteredClaims) { c.Audience = jwt.ClaimStrings{"stock", "item"} }), "malformed"},
		{"without an end", signed(func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil }), "malformed"},
		{"without a begin", signed(func(c *jwt.RegisteredClaims) { c.IssuedAt = nil }), "malformed"},
		{"61 s long", signed(func(c *jwt.RegisteredClaims) { c.ExpiresAt = jwt.NewNumericDate(noon().Add(61 * time.Second)) }), "malformed"},
		{"not before tomorrow", signed(func(c *jwt.RegisteredClaims) { c.NotBefore = jwt.NewNumericDate(noon().AddDate(0, 0, 1)) }), "future"},
		{"of yesterday", signed(func(c *jwt.RegisteredClaims) {
			c.IssuedAt, c.ExpiresAt = jwt.NewNumericDate(noon().AddDate(0, 0, -1)), jwt.NewNumericDate(noon().AddDate(0, 0, -1).Add(time.Minute))
		}), "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for range 2 { // a refusal is not remembered as anything else
				if got := refused(stock, c.token); got != c.want {
					t.Errorf("it is taken as %s, want %s", got, c.want)
				}
			}
		})
	}
}

func TestTheKeyOfACertificateThatHasEndedIsNotTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gateway", "stock")
	gateway, stock := w.open("gateway"), w.open("stock")
	w.clock.add(30*24*time.Hour - time.Second)
	token := bearer(t, gateway, "stock")
	if got := refused(stock, token); got != "gateway" {
		t.Errorf("a second before its end it is taken as %s", got)
	}
	w.clock.add(time.Second)
	if got := refused(stock, token); got != "certificate" {
		t.Errorf("at its end it is taken as %s", got)
	}
	if _, err := Open("gateway", Config{Key: w.dir, Trust: w.dir}, w.clock.Now); err == nil ||
		!strings.HasSuffix(err.Error(), "gateway.key has ended at 2030-02-01T12:00:00Z; make another") {
		t.Errorf("gateway starts with it: %v", err)
	}
}

func TestKeysChangeWhileTheServiceRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gateway", "stock")
	gateway, stock := w.open("gateway"), w.open("stock")
	reload := func(id *Identity, want bool) {
		t.Helper()
		if changed, err := id.Reload(); err != nil || changed != want {
			t.Fatalf("changed %t, %v; want %t", changed, err, want)
		}
	}
	reload(stock, false)
	old, oldCertificate, oldKey := bearer(t, gateway, "stock"), w.read("gateway.crt"), gateway.Report().Key

	w.make("gateway")
	w.write("before.crt", oldCertificate) // both are trusted until the last old token is over
	reload(gateway, true)
	reload(stock, true)
	token := bearer(t, gateway, "stock")
	if token == old || gateway.Report().Key == oldKey {
		t.Error("the tokens are of the old key")
	}
	for _, good := range []string{token, old} {
		if got := refused(stock, good); got != "gateway" {
			t.Errorf("with both it is taken as %s", got)
		}
	}

	if err := os.Remove(filepath.Join(w.dir, "before.crt")); err != nil {
		t.Fatal(err)
	}
	reload(stock, true)
	if got := refused(stock, old); got != "unknown_key" {
		t.Errorf("the token of the old key, which was taken before, is taken as %s", got)
	}
	if got := refused(stock, token); got != "gateway" {
		t.Errorf("that of the new key is taken as %s", got)
	}
}

func TestWrongFilesAreRefusedAndTheLastGoodKeysKept(t *testing.T) {
	t.Parallel()
	block := func(kind string, bytes []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})
	}
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := x509.MarshalPKCS8PrivateKey(elliptical)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: elliptical.X}
	foreign, err := x509.CreateCertificate(rand.Reader, template, template, elliptical.Public(), elliptical)
	if err != nil {
		t.Fatal(err)
	}
	_, unnamed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	nameless, err := x509.CreateCertificate(rand.Reader, template, template, unnamed.Public(), unnamed)
	if err != nil {
		t.Fatal(err)
	}
	const keyWanted = "DIR/stock.key: it must hold one block PRIVATE KEY and nothing else: an Ed25519 key as PKCS#8"
	for _, c := range []struct {
		want  string
		spoil func(w world)
	}{
		{keyWanted, func(w world) { w.write("stock.key", nil) }},
		{keyWanted, func(w world) { w.write("stock.key", []byte("hunter2")) }},
		{keyWanted, func(w world) { w.write("stock.key", w.read("stock.crt")) }},
		{keyWanted, func(w world) { w.write("stock.key", append(w.read("stock.key"), w.read("stock.key")...)) }},
		{keyWanted, func(w world) { w.write("stock.key", block("PRIVATE KEY", packed)) }},
		{keyWanted, func(w world) { w.write("stock.key", block("PRIVATE KEY", []byte("hunter2"))) }},
		{"DIR/stock.key is larger than 1048576 bytes", func(w world) { w.write("stock.key", make([]byte, maxFile+1)) }},
		{"DIR/stock.key: no such file", func(w world) { _ = os.Remove(filepath.Join(w.dir, "stock.key")) }},
		{"no certificate in -identity-trust is that of the key DIR/stock.key; there are certificates of gateway", func(w world) { _ = os.Remove(filepath.Join(w.dir, "stock.crt")) }},
		{"the key DIR/stock.key is that of gateway by its certificate; this is stock", func(w world) { w.write("stock.key", w.read("gateway.key")) }},
		{"DIR/gateway.crt: it holds no block CERTIFICATE", func(w world) { w.write("gateway.crt", []byte("hunter2")) }},
		{"DIR/gateway.crt: 1 of its 2 PEM blocks cannot be read", func(w world) {
			w.write("gateway.crt", append([]byte("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), w.read("gateway.crt")...))
		}},
		{`DIR/gateway.crt: block 2: it is "PRIVATE KEY"; only CERTIFICATE is allowed, and a private key belongs to its service alone`, func(w world) {
			w.write("gateway.crt", append(w.read("gateway.crt"), w.read("gateway.key")...))
		}},
		{"DIR/gateway.crt: block 1: it is no X.509 certificate", func(w world) { w.write("gateway.crt", block("CERTIFICATE", []byte("hunter2"))) }},
		{"DIR/gateway.crt: block 1: its key is ECDSA; it must be Ed25519", func(w world) { w.write("gateway.crt", block("CERTIFICATE", foreign)) }},
		{`DIR/gateway.crt: block 1: its common name: "" is no name of a service; it must have 1 to 63 of a to z, 0 to 9 and -`, func(w world) { w.write("gateway.crt", block("CERTIFICATE", nameless)) }},
		{"DIR/gateway.crt is no file", func(w world) {
			_ = os.Remove(filepath.Join(w.dir, "gateway.crt"))
			_ = os.Mkdir(filepath.Join(w.dir, "gateway.crt"), 0o700)
		}},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "gateway", "stock")
			gateway, stock := w.open("gateway"), w.open("stock")
			c.spoil(w)
			for range 2 { // it stays wrong until it is another
				changed, err := stock.Reload()
				if changed || err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), w.dir, "DIR"), c.want) {
					t.Fatalf("changed %t, %v", changed, err)
				}
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error tells what is in the file: %v", err)
				}
			}
			if got := refused(stock, bearer(t, gateway, "stock")); got != "gateway" {
				t.Errorf("gateway's token is taken as %s", got)
			}
			if _, err := Open("stock", Config{Key: w.dir, Trust: w.dir}, w.clock.Now); err == nil {
				t.Error("a service starts with them")
			}
		})
	}
}

func TestOneKeyBelongsToOneService(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gateway", "stock")
	private, err := file{text: w.read("gateway.key")}.privateKey()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := certify("item", private, noon(), 30)
	if err != nil {
		t.Fatal(err)
	}
	w.write("item.crt", certificate)
	_, err = Open("stock", Config{Key: w.dir, Trust: w.dir}, w.clock.Now)
	if err == nil || !strings.HasSuffix(err.Error(), "item.crt: block 1: the key of item is that of gateway, too; each service must have its own") {
		t.Errorf("they are taken: %v", err)
	}
}

func TestARenewedCertificateProlongsItsKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gateway", "stock")
	private, err := file{text: w.read("gateway.key")}.privateKey()
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := certify("gateway", private, noon().AddDate(0, 0, 20), 30)
	if err != nil {
		t.Fatal(err)
	}
	w.write("gateway.crt", append(renewed, w.read("gateway.crt")...))
	gateway, stock := w.open("gateway"), w.open("stock")
	if got := refused(stock, bearer(t, gateway, "stock")); got != "gateway" {
		t.Errorf("before the second begins it is taken as %s", got)
	}
	w.clock.add(40 * 24 * time.Hour)
	if got := refused(stock, bearer(t, gateway, "stock")); got != "gateway" {
		t.Errorf("after the first has ended it is taken as %s", got)
	}
}

// TestWhatKubernetesMountsIsReadAsAWhole puts files where kubelet does: the
// directory of the pod's is changed by one rename.
func TestWhatKubernetesMountsIsReadAsAWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gateway", "stock")
	mount := t.TempDir()
	publish := func(version string, names ...string) {
		t.Helper()
		within := filepath.Join(mount, version)
		must(t, os.Mkdir(within, 0o750))
		for _, name := range names {
			must(t, os.WriteFile(filepath.Join(within, name), w.read(name), 0o440))
			if _, err := os.Lstat(filepath.Join(mount, name)); err != nil {
				must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)))
			}
		}
		must(t, os.Symlink(version, filepath.Join(mount, "..data_tmp")))
		must(t, os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
	}
	publish("..2030_01_02", "stock.key", "stock.crt", "gateway.crt")
	stock, err := Open("stock", Config{Key: filepath.Join(mount, "stock.key"), Trust: mount}, w.clock.Now)
	must(t, err)
	if changed, err := stock.Reload(); changed || err != nil {
		t.Fatalf("changed %t, %v", changed, err)
	}
	w.make("gateway")
	publish("..2030_01_03", "stock.key", "stock.crt", "gateway.crt")
	if changed, err := stock.Reload(); !changed || err != nil {
		t.Fatalf("changed %t, %v", changed, err)
	}
	if got := refused(stock, bearer(t, w.open("gateway"), "stock")); got != "gateway" {
		t.Errorf("the new key is taken as %s", got)
	}
}

func TestATrustFileMayHoldAllCertificates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "gateway", "stock")
	w.write("all.pem", append(append([]byte("# of all services\n"), w.read("gateway.crt")...), w.read("stock.crt")...))
	stock, err := Open("stock", Config{Key: filepath.Join(w.dir, "stock.key"), Trust: filepath.Join(w.dir, "all.pem")}, w.clock.Now)
	must(t, err)
	if got := refused(stock, bearer(t, w.open("gateway"), "stock")); got != "gateway" {
		t.Errorf("it is taken as %s", got)
	}
}

func TestBothSettingsAreGivenOrNone(t *testing.T) {
	t.Parallel()
	if id, err := Open("stock", Config{Required: true}, time.Now); id != nil || err != nil {
		t.Errorf("without settings there is %v, %v", id, err)
	}
	if _, err := Open("stock", Config{Key: "k"}, time.Now); err == nil || err.Error() != "identity: -identity-key is given without -identity-trust; give both, or none" {
		t.Errorf("a key alone: %v", err)
	}
	if _, err := Open("stock", Config{Trust: "t"}, time.Now); err == nil || err.Error() != "identity: -identity-trust is given without -identity-key; give both, or none" {
		t.Errorf("trust alone: %v", err)
	}
	if _, err := Open("stock", Config{Key: "/nonexistent", Trust: "/nonexistent"}, time.Now); err == nil || err.Error() != "identity: -identity-key: stat /nonexistent: no such file or directory" {
		t.Errorf("files that are not there: %v", err)
	}
	if _, err := Open("stock", Config{Key: "/dev/null", Trust: t.TempDir()}, time.Now); err == nil || err.Error() != "identity: -identity-key: /dev/null is no file" {
		t.Errorf("a device: %v", err)
	}
}

func TestOnlyNamesOfServicesAreCertified(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "Stock", "a b", "../stock", "-stock", "stock-", strings.Repeat("s", 64), "stock\n"} {
		if _, _, err := Make(name, noon(), 1); err == nil {
			t.Errorf("%q is certified", name)
		}
	}
	for _, days := range []int{0, -1, 3651} {
		if _, _, err := Make("stock", noon(), days); err == nil || err.Error() != fmt.Sprintf("days is %d; it must be 1 to 3650", days) {
			t.Errorf("%d days: %v", days, err)
		}
	}
}

// TestTheKeysIDIsItsThumbprint is the example of RFC 8037, appendix A.3.
func TestTheKeysIDIsItsThumbprint(t *testing.T) {
	t.Parallel()
	key, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	must(t, err)
	if got := thumbprint(key); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("it is %s", got)
	}
}

func TestTheMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var m memory[int]
	for n := range maxRemembered + 10 {
		m.put(fmt.Sprint(n), n, noon(), noon().Add(time.Minute))
	}
	if n := len(*m.all.Load()); n != maxRemembered {
		t.Errorf("it has %d", n)
	}
	m.put("later", 1, noon().Add(time.Minute), noon().Add(2*time.Minute))
	if n := len(*m.all.Load()); n != 1 {
		t.Errorf("when all have ended it has %d", n)
	}
}

func TestALookAtTheMemoryMakesNothing(t *testing.T) {
	w := newWorld(t, "gateway", "stock")
	gateway, stock := w.open("gateway"), w.open("stock")
	token := bearer(t, gateway, "stock")
	if got := refused(stock, token); got != "gateway" {
		t.Fatalf("it is taken as %s", got)
	}
	made := testing.AllocsPerRun(100, func() {
		again, _ := gateway.Bearer("stock")
		if caller, _ := stock.Verify(again); caller != "gateway" {
			t.Error("it is refused")
		}
	})
	if made != 0 {
		t.Errorf("a call makes %v objects", made)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
