package discovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/discovery/discoverytest"
)

// promises is what every registry keeps, one test for each kind of server.
var promises = map[string]func(*testing.T, discoverytest.Kind){
	"what is announced is found, with its weight, version and zone":               findsWhatIsAnnounced,
	"both sides may start before the registry":                                    startsBeforeTheRegistry,
	"a registry that is killed and comes back has every instance once":            survivesAKill,
	"a registry that comes back without its data is filled again":                 survivesALossOfData,
	"a registry that hangs past every session is filled again when it goes on":    survivesAHang,
	"callers keep the last list however long the registry is away":                survivesAnOutage,
	"a list that is empty after one that was not is doubted, then believed":       doubtsAnEmptyList,
	"an instance that somebody deletes comes back":                                comesBackAfterDeletion,
	"entries that no instance makes are ignored":                                  ignoresMalformedEntries,
	"an instance that crashes and starts again on its address is found all along": takesOverFromACrash,
	"instances leave and come, and every call reaches one that lives":             losesNoCallOnLeaving,
	"leaving a registry that hangs takes no longer than the bound":                leavesARegistryThatHangs,
	"the same address announced twice under a name is registered once":            registersOnce,
	"an address that changes is registered in the place of the old one":           followsItsAddress,
	"what is registered is where callers reach it":                                advertisesWhereItIsReached,
	"what another registry under the same server holds by name is listed":         listsServices,
}

func TestEveryRegistryKeepsItsPromises(t *testing.T) {
	t.Parallel()
	for _, kind := range discoverytest.Kinds() {
		for promise, check := range promises {
			t.Run(kind.Name()+"/"+promise, func(t *testing.T) {
				t.Parallel()
				check(t, kind)
			})
		}
	}
}

// use opens a registry and closes it with the test.
func use(t testing.TB, cfg discovery.Config) *discovery.Registry {
	t.Helper()
	if os.Getenv("TEST_DRIVER") == "contrib" {
		cfg.URL += "&driver=contrib"
	}
	registry, err := discovery.Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	return registry
}

func at(t *testing.T, s *discoverytest.Server) *discovery.Registry {
	t.Helper()
	return use(t, discovery.Config{URL: s.URL()})
}

// announceAt announces a made-up address and waits until it is registered.
func announceAt(t *testing.T, registry *discovery.Registry, address string, names ...string) *discovery.Announcement {
	t.Helper()
	a := registry.Announce(tcp(t, address), names...)
	discoverytest.Eventually(t, address+" is registered", func() bool { return a.Registered() == nil })
	return a
}

func tcp(t *testing.T, address string) net.Addr {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// found gives the sorted addresses of item, or why there are none.
func found(registry *discovery.Registry) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	result, err := registry.Resolver().Resolve(ctx, "item")
	if err != nil {
		return "error: " + err.Error()
	}
	var addresses []string
	for _, instance := range result.Instances {
		addresses = append(addresses, instance.Address().String())
	}
	slices.Sort(addresses)
	return strings.Join(addresses, " ")
}

func finds(t *testing.T, registry *discovery.Registry, want string) {
	t.Helper()
	var got string
	deadline := time.Now().Add(discoverytest.Patience())
	for got != want {
		if got = found(registry); time.Now().After(deadline) {
			t.Fatalf("item is at %q, want %q", got, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// holds demands that the registry's own data has item at exactly these
// addresses, by a registry that remembers nothing.
func holds(t *testing.T, s *discoverytest.Server, want ...string) {
	t.Helper()
	var got []string
	deadline := time.Now().Add(discoverytest.Patience())
	for {
		got = nil
		fresh, err := discovery.Open(discovery.Config{URL: s.URL()}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		services, err := fresh.Services(ctx)
		cancel()
		fresh.Close()
		for _, instance := range services["item"] {
			got = append(got, instance.Address)
		}
		slices.Sort(got)
		if err == nil && slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the registry holds item at %v (error %v), want %v", got, err, want)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// watchGaps asks for item all the time and counts the answers that are none of right.
func watchGaps(t *testing.T, registry *discovery.Registry, right ...string) (gaps func() (asked, wrong int, example string)) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var asked, wrong int
	var example string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			got := found(registry)
			if asked++; !slices.Contains(right, got) {
				wrong++
				example = got
			}
			time.Sleep(time.Millisecond)
		}
	}()
	t.Cleanup(stop)
	return func() (int, int, string) {
		stop()
		<-done
		return asked, wrong, example
	}
}

func noGaps(t *testing.T, gaps func() (int, int, string)) {
	t.Helper()
	asked, wrong, example := gaps()
	if wrong != 0 || asked == 0 {
		t.Errorf("%d of %d answers were wrong, as %q", wrong, asked, example)
	}
}

func findsWhatIsAnnounced(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	serving := use(t, discovery.Config{URL: s.URL(), Weight: 30, Zone: "zone-a", Version: "v1.2.3"})
	announceAt(t, serving, "127.0.0.1:7001", "item", "example.shop.item")
	announceAt(t, at(t, s), "[::1]:7002", "item")
	calling := at(t, s)
	finds(t, calling, "127.0.0.1:7001 [::1]:7002")
	result, err := calling.Resolver().Resolve(t.Context(), "example.shop.item")
	if err != nil || len(result.Instances) != 1 {
		t.Fatalf("example.shop.item is at %v, %v", result.Instances, err)
	}
	instance := result.Instances[0]
	zone, _ := instance.Tag("zone")
	version, _ := instance.Tag("version")
	if got := fmt.Sprint(instance.Address(), instance.Weight(), zone, version); got != "127.0.0.1:7001 30zone-av1.2.3" && got != "127.0.0.1:7001 30 zone-a v1.2.3" {
		t.Errorf("the instance is %s", got)
	}
}

func startsBeforeTheRegistry(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.New(t, kind)
	serving, calling := at(t, s), at(t, s)
	a := serving.Announce(tcp(t, "127.0.0.1:7001"), "item")
	if got := found(calling); !strings.HasPrefix(got, "error: ") {
		t.Errorf("without a registry item is at %q", got)
	}
	if a.Registered() == nil {
		t.Error("it is registered without a registry")
	}
	s.Start()
	finds(t, calling, "127.0.0.1:7001")
	if err := a.Registered(); err != nil {
		t.Errorf("Registered: %v", err)
	}
}

func survivesAKill(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	serving, calling := at(t, s), at(t, s)
	announceAt(t, serving, "127.0.0.1:7001", "item")
	announceAt(t, at(t, s), "127.0.0.1:7002", "item")
	finds(t, calling, "127.0.0.1:7001 127.0.0.1:7002")
	right := []string{"127.0.0.1:7001 127.0.0.1:7002"}
	if kind.Name() == "nacos" {
		// It keeps such instances in memory only: they come back one by one.
		right = append(right, "127.0.0.1:7001", "127.0.0.1:7002")
	}
	gaps := watchGaps(t, calling, right...)
	s.Kill()
	s.Start()
	confirmed(t, serving)
	refreshed(t, calling)
	holds(t, s, "127.0.0.1:7001", "127.0.0.1:7002")
	noGaps(t, gaps)
}

// confirmed waits until the registry has answered the announcer once more from now.
func confirmed(t *testing.T, serving *discovery.Registry) {
	t.Helper()
	now := time.Now()
	discoverytest.Eventually(t, "the registration is confirmed", func() bool {
		r := serving.Report().Registrations[0]
		return r.Registered && r.LastContact.After(now)
	})
}

// refreshed waits until the registry has told the caller its list once more from now.
func refreshed(t *testing.T, calling *discovery.Registry) {
	t.Helper()
	now := time.Now()
	discoverytest.Eventually(t, "the list is refreshed", func() bool {
		lists := calling.Report().Lists // a contributed module reports none
		return len(lists) == 0 || lists[0].LastContact.After(now)
	})
}

func survivesALossOfData(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	serving, calling := at(t, s), at(t, s)
	announceAt(t, serving, "127.0.0.1:7001", "item")
	finds(t, calling, "127.0.0.1:7001")
	gaps := watchGaps(t, calling, "127.0.0.1:7001")
	s.Kill()
	s.Wipe()
	s.Start()
	holds(t, s, "127.0.0.1:7001")
	refreshed(t, calling)
	noGaps(t, gaps)
	announceAt(t, at(t, s), "127.0.0.1:7002", "item")
	finds(t, calling, "127.0.0.1:7001 127.0.0.1:7002")
}

func survivesAHang(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	serving, calling := at(t, s), at(t, s)
	a := announceAt(t, serving, "127.0.0.1:7001", "item")
	finds(t, calling, "127.0.0.1:7001")
	gaps := watchGaps(t, calling, "127.0.0.1:7001")
	s.Freeze()
	hung := time.Now()
	discoverytest.Eventually(t, "the sessions are over", func() bool {
		lists := calling.Report().Lists // a contributed module reports none
		return time.Since(hung) > 3*time.Second && (len(lists) == 0 || lists[0].Problem != "")
	})
	if err := a.Registered(); err != nil {
		t.Errorf("an instance that serves is not ready because the registry hangs: %v", err)
	}
	s.Thaw()
	confirmed(t, serving)
	refreshed(t, calling)
	holds(t, s, "127.0.0.1:7001")
	noGaps(t, gaps)
}

// survivesAnOutage is several times longer than everything that could end by
// itself here: the session, the refresh, and what Kitex remembers of idle callers.
func survivesAnOutage(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	serving, calling := at(t, s), at(t, s)
	announceAt(t, serving, "127.0.0.1:7001", "item")
	finds(t, calling, "127.0.0.1:7001")
	gaps := watchGaps(t, calling, "127.0.0.1:7001")
	s.Kill()
	outage := 10 * time.Second
	if longer, err := time.ParseDuration(os.Getenv("TEST_OUTAGE")); err == nil {
		outage = longer
	}
	time.Sleep(outage) // there is nothing to wait for but time
	if got := found(calling); got != "127.0.0.1:7001" {
		t.Errorf("item is at %q after %s without the registry", got, outage)
	}
	s.Start()
	confirmed(t, serving)
	holds(t, s, "127.0.0.1:7001")
	noGaps(t, gaps)
}

func doubtsAnEmptyList(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	calling := use(t, discovery.Config{URL: s.URL("empty_grace=2s")})
	a := announceAt(t, at(t, s), "127.0.0.1:7001", "item")
	finds(t, calling, "127.0.0.1:7001")
	if len(calling.Report().Lists) == 0 {
		t.Fatal("the driver does not tell what it doubts")
	}
	var left sync.WaitGroup
	left.Go(func() { a.Withdraw(t.Context()) }) // which waits longer than the doubt lasts
	defer left.Wait()
	discoverytest.Eventually(t, "the empty list is doubted", func() bool { return !calling.Report().Lists[0].EmptySince.IsZero() })
	since := calling.Report().Lists[0].EmptySince
	if got := found(calling); got != "127.0.0.1:7001" {
		t.Errorf("while in doubt, item is at %q", got)
	}
	finds(t, calling, `error: no instance of "item" is registered`)
	if doubted := time.Since(since); doubted < 2*time.Second {
		t.Errorf("it was doubted for %s, not for 2s", doubted)
	}
	if !calling.Report().Lists[0].EmptySince.IsZero() {
		t.Error("it is believed and doubted")
	}
}

func comesBackAfterDeletion(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	serving := at(t, s)
	announceAt(t, serving, "127.0.0.1:7001", "item")
	holds(t, s, "127.0.0.1:7001")
	for range 2 {
		kind.Remove(t, s.Port, "item", "127.0.0.1:7001")
		holds(t, s, "127.0.0.1:7001")
	}
}

func ignoresMalformedEntries(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	announceAt(t, at(t, s), "127.0.0.1:7001", "item")
	kind.Malformed(t, s.Port, "item")
	calling := at(t, s)
	finds(t, calling, "127.0.0.1:7001")
	announceAt(t, at(t, s), "127.0.0.1:7002", "item")
	finds(t, calling, "127.0.0.1:7001 127.0.0.1:7002")
}

// announcer is this test's program in another process, which announces until it is killed.
func announcer(t *testing.T, url, address string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "TEST_ANNOUNCE="+url+" "+address)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// announce is what that program does.
func announceForever(url, address string) error {
	registry, err := discovery.Open(discovery.Config{URL: url}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return err
	}
	registry.Announce(addr, "item")
	select {}
}

func takesOverFromACrash(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	calling := at(t, s)
	crashing := announcer(t, s.URL(), "127.0.0.1:7001")
	finds(t, calling, "127.0.0.1:7001")
	gaps := watchGaps(t, calling, "127.0.0.1:7001")
	_ = crashing.Process.Kill()
	_ = crashing.Wait()
	a := announceAt(t, at(t, s), "127.0.0.1:7001", "item")
	crashed := time.Now()
	discoverytest.Eventually(t, "the crashed one's session is over", func() bool { return time.Since(crashed) > 4*time.Second })
	holds(t, s, "127.0.0.1:7001")
	noGaps(t, gaps)
	if err := a.Registered(); err != nil {
		t.Error(err)
	}
}

// losesNoCallOnLeaving has callers connect to listeners that close when their
// announcement is withdrawn, as servers do.
func losesNoCallOnLeaving(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	calling := at(t, s)
	var all sync.WaitGroup
	open := func() (leave func()) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				_ = conn.Close()
			}
		})
		a := announceAt(t, at(t, s), ln.Addr().String(), "item")
		return func() {
			a.Withdraw(t.Context())
			_ = ln.Close()
		}
	}
	first, second := open(), open()
	discoverytest.Eventually(t, "both are found", func() bool { return strings.Count(found(calling), " ") == 1 })

	ctx, stop := context.WithCancel(t.Context())
	var calls, failed atomic.Int64
	var problem atomic.Value
	var caller sync.WaitGroup
	caller.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			result, err := calling.Resolver().Resolve(context.Background(), "item")
			var conn net.Conn
			switch {
			case err != nil:
			case len(result.Instances) == 0:
				err = errors.New("the list is empty")
			default:
				conn, err = net.Dial("tcp", result.Instances[n%len(result.Instances)].Address().String())
			}
			calls.Add(1)
			if err != nil {
				failed.Add(1)
				problem.Store(err.Error())
				continue
			}
			_ = conn.Close()
			time.Sleep(time.Millisecond)
		}
	})
	first()
	third := open()
	second()
	before := calls.Load()
	discoverytest.Eventually(t, "calls reach the last one", func() bool { return calls.Load() > before+100 })
	stop()
	caller.Wait()
	third()
	all.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d of %d calls failed, as: %v", failed.Load(), calls.Load(), problem.Load())
	}
}

func leavesARegistryThatHangs(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	a := announceAt(t, at(t, s), "127.0.0.1:7001", "item")
	s.Freeze()
	defer s.Thaw()
	start := time.Now()
	a.Withdraw(t.Context())
	// 2 s to unregister, at most 3 s of leave_wait, and what a busy machine adds.
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("leaving took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b := at(t, s).Announce(tcp(t, "127.0.0.1:7002"), "item")
	cancel()
	b.Withdraw(ctx)
}

func registersOnce(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	serving := at(t, s)
	announceAt(t, serving, "127.0.0.1:7001", "item")
	announceAt(t, serving, "127.0.0.1:7001", "item")
	holds(t, s, "127.0.0.1:7001")
}

// movingAddr is the address of a listener whose machine gets another.
type movingAddr struct{ atomic.Pointer[string] }

func (a *movingAddr) Network() string { return "tcp" }
func (a *movingAddr) String() string  { return *a.Load() }

func followsItsAddress(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	first, second := "127.0.0.1:7001", "127.0.0.1:7002"
	var address movingAddr
	address.Store(&first)
	a := at(t, s).Announce(&address, "item")
	discoverytest.Eventually(t, "it is registered", func() bool { return a.Registered() == nil })
	holds(t, s, first)
	address.Store(&second)
	holds(t, s, second)
}

// advertisesWhereItIsReached announces what listens on every address of the
// machine. What faces a registry on loopback is loopback.
func advertisesWhereItIsReached(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	announceAt(t, at(t, s), "0.0.0.0:7001", "item")
	holds(t, s, "127.0.0.1:7001")
	announceAt(t, use(t, discovery.Config{URL: s.URL(), Advertise: "10.1.2.3"}), "0.0.0.0:7002", "item")
	announceAt(t, use(t, discovery.Config{URL: s.URL(), Advertise: "10.1.2.3:9"}), "0.0.0.0:7003", "item")
	announceAt(t, use(t, discovery.Config{URL: s.URL(), Advertise: "fd00::1"}), "[::]:7004", "item")
	holds(t, s, "10.1.2.3:7002", "10.1.2.3:9", "127.0.0.1:7001", "[fd00::1]:7004")
}

func listsServices(t *testing.T, kind discoverytest.Kind) {
	s := discoverytest.Started(t, kind)
	announceAt(t, use(t, discovery.Config{URL: s.URL(), Weight: 5, Zone: "a"}), "127.0.0.1:7001", "item", "example.shop.item")
	announceAt(t, at(t, s), "127.0.0.1:7002", "stock")
	services, err := at(t, s).Services(t.Context())
	first := discovery.Instance{Address: "127.0.0.1:7001", Weight: 5, Tags: map[string]string{"zone": "a"}}
	want := map[string][]discovery.Instance{
		"item": {first}, "example.shop.item": {first}, "stock": {{Address: "127.0.0.1:7002", Weight: 10}},
	}
	if err != nil || toJSON(t, services) != toJSON(t, want) {
		t.Errorf("services = %s (error %v), want %s", toJSON(t, services), err, toJSON(t, want))
	}
}

func toJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// passwordFile holds a password that a test may change.
type passwordFile struct {
	t    *testing.T
	path string
}

func newPasswordFile(t *testing.T, password string) passwordFile {
	t.Helper()
	f := passwordFile{t, filepath.Join(t.TempDir(), "password")}
	f.write(password)
	return f
}

// write replaces the file in one step, as Kubernetes does.
func (f passwordFile) write(password string) {
	f.t.Helper()
	err := errors.Join(os.WriteFile(f.path+".new", []byte(password+"\n"), 0o600), os.Rename(f.path+".new", f.path))
	if err != nil {
		f.t.Fatal(err)
	}
}
