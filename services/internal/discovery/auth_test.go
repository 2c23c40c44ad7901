package discovery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-zookeeper/zk"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/discovery/discoverytest"
)

// guarded is a registry with the user shop, and how to change its password.
type guarded struct {
	*discoverytest.Server
	rotate func(password string)
}

const firstPassword, secondPassword = "kite-one", "kite-two"

func guardedServers(t *testing.T) map[string]func(*testing.T) guarded {
	t.Helper()
	servers := map[string]func(*testing.T) guarded{"zookeeper": guardedZookeeper, "etcd": guardedEtcd}
	if os.Getenv("TEST_NACOS") != "" {
		servers["nacos"] = guardedNacos
	}
	return servers
}

// guardedZookeeper has a root below which only shop may do anything. To
// ZooKeeper another password is another user: both are let in.
func guardedZookeeper(t *testing.T) guarded {
	s := discoverytest.Started(t, discoverytest.ZooKeeper{})
	conn := discoverytest.ZooKeeperClient(t, s.Port)
	acl := append(zk.DigestACL(zk.PermAll, "shop", firstPassword), zk.DigestACL(zk.PermRead|zk.PermCreate, "shop", secondPassword)...)
	if _, err := conn.Create("/guarded", nil, 0, acl); err != nil {
		t.Fatal(err)
	}
	return guarded{s, func(string) {}}
}

func (g guarded) url(file passwordFile) string {
	more := []string{"password_file=" + file.path}
	if etcd, ok := g.Kind.(discoverytest.Etcd); ok {
		more = append(more, "ca_file="+etcd.TLS.CA)
	}
	switch g.Kind.Name() {
	case "zookeeper":
		return strings.Replace(g.URLFor("shop", more...), "?", "/guarded?", 1)
	case "nacos":
		return g.URLFor("nacos", more...)
	default:
		return g.URLFor("shop", more...)
	}
}

// guardedEtcd speaks TLS, and shop may do everything below the prefix.
func guardedEtcd(t *testing.T) guarded {
	kind := discoverytest.Etcd{TLS: discoverytest.NewCertificates(t)}
	s := discoverytest.Started(t, kind)
	client := kind.Client(t, s.Port)
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(client.UserAdd(ctx, "root", "root"))
	must(client.UserGrantRole(ctx, "root", "root"))
	must(client.UserAdd(ctx, "shop", firstPassword))
	must(client.RoleAdd(ctx, "shop"))
	must(client.RoleGrantPermission(ctx, "shop", "kitex/", clientv3.GetPrefixRangeEnd("kitex/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(client.UserGrantRole(ctx, "shop", "shop"))
	must(client.AuthEnable(ctx))
	return guarded{s, func(password string) {
		root, err := clientv3.New(clientv3.Config{Endpoints: client.Endpoints(), TLS: kind.TLS.Config, Username: "root", Password: "root"})
		must(root, err)
		defer root.Close()
		must(root.UserChangePassword(ctx, "shop", password))
	}}
}

// guardedNacos has the user nacos alone.
func guardedNacos(t *testing.T) guarded {
	s := discoverytest.Started(t, discoverytest.Nacos{Password: firstPassword})
	call := func(method, path string, form url.Values, answer any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d/nacos/v3/auth/user%s", s.Port, path), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s, %v", method, path, resp.Status, err)
		}
	}
	return guarded{s, func(password string) {
		var login struct{ AccessToken string }
		call("POST", "/login", url.Values{"username": {"nacos"}, "password": {firstPassword}}, &login)
		var done any
		call("PUT", "", url.Values{"username": {"nacos"}, "newPassword": {password}, "accessToken": {login.AccessToken}}, &done)
	}}
}

func TestRegistriesWithUsers(t *testing.T) {
	t.Parallel()
	for kind, guard := range guardedServers(t) {
		t.Run(kind+"/a password that changes leaves no gap", func(t *testing.T) {
			t.Parallel()
			rotatesWithoutAGap(t, guard(t))
		})
		t.Run(kind+"/a wrong password is told, and tried again until it is right", func(t *testing.T) {
			t.Parallel()
			triesAWrongPasswordAgain(t, guard(t))
		})
	}
}

func rotatesWithoutAGap(t *testing.T, g guarded) {
	password := newPasswordFile(t, firstPassword)
	serving, calling := use(t, discovery.Config{URL: g.url(password)}), use(t, discovery.Config{URL: g.url(password)})
	announceAt(t, serving, "127.0.0.1:7001", "item")
	finds(t, calling, "127.0.0.1:7001")
	gaps := watchGaps(t, calling, "127.0.0.1:7001")

	g.rotate(secondPassword)
	password.write(secondPassword)
	confirmed(t, serving)
	confirmed(t, serving) // the first may have been under way with the old one
	refreshed(t, calling)
	refreshed(t, calling)
	noGaps(t, gaps)

	// Whoever knows only the new password can come beside it.
	announceAt(t, use(t, discovery.Config{URL: g.url(newPasswordFile(t, secondPassword))}), "127.0.0.1:7002", "item")
	finds(t, calling, "127.0.0.1:7001 127.0.0.1:7002")
}

func triesAWrongPasswordAgain(t *testing.T, g guarded) {
	password := newPasswordFile(t, "wrong")
	serving := use(t, discovery.Config{URL: g.url(password)})
	a := serving.Announce(tcp(t, "127.0.0.1:7001"), "item")
	want := map[string]string{"zookeeper": "user \"shop\" with the password given", "etcd": "authentication failed", "nacos": "is the password of user \"nacos\" right?"}[g.Kind.Name()]
	discoverytest.Eventually(t, "the password is told to be wrong", func() bool {
		err := a.Registered()
		return err != nil && strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "wrong")
	})
	password.write(firstPassword)
	discoverytest.Eventually(t, "it is registered", func() bool { return a.Registered() == nil })
}

func TestAZookeeperNodeBelongsToItsCreatorAlone(t *testing.T) {
	t.Parallel()
	s := discoverytest.Started(t, discoverytest.ZooKeeper{})
	password := newPasswordFile(t, firstPassword)
	serving := use(t, discovery.Config{URL: s.URLFor("shop", "password_file="+password.path)})
	announceAt(t, serving, "127.0.0.1:7001", "item")

	stranger := discoverytest.ZooKeeperClient(t, s.Port)
	const node = "/item/127.0.0.1:7001"
	if err := stranger.Delete(node, -1); !errors.Is(err, zk.ErrNoAuth) {
		t.Errorf("a stranger deleting it: %v, want %v", err, zk.ErrNoAuth)
	}
	if _, err := stranger.Set(node, nil, -1); !errors.Is(err, zk.ErrNoAuth) {
		t.Errorf("a stranger writing it: %v, want %v", err, zk.ErrNoAuth)
	}
	if _, err := stranger.Create("/item/127.0.0.1:7002", []byte(`{"Weight":10}`), zk.FlagEphemeral, zk.WorldACL(zk.PermAll)); err != nil {
		t.Errorf("a stranger registering beside it: %v", err)
	}
	finds(t, at(t, s), "127.0.0.1:7001 127.0.0.1:7002")

	// After a rotation it belongs to who knows the new password.
	password.write(secondPassword)
	if err := stranger.AddAuth("digest", []byte("shop:"+secondPassword)); err != nil {
		t.Fatal(err)
	}
	discoverytest.Eventually(t, "the node belongs to the new password", func() bool {
		acl, _, err := stranger.GetACL(node)
		return err == nil && slices.Contains(acl, zk.DigestACL(zk.PermAll, "shop", secondPassword)[0])
	})
}
