package discovery_test

import (
	"fmt"
	"testing"

	"github.com/go-zookeeper/zk"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/discovery/discoverytest"
)

// BenchmarkRefresh reads a registry of 200 services with 5 instances each once
// over, which is what a caller of all of them does every refresh interval.
func BenchmarkRefresh(b *testing.B) {
	const services, instances = 200, 5
	each := func(put func(name, address string)) {
		for s := range services {
			for i := range instances {
				put(fmt.Sprintf("service-%d", s), fmt.Sprintf("10.0.%d.%d:8888", s, i))
			}
		}
	}
	run := func(b *testing.B, server *discoverytest.Server) {
		registry := use(b, discovery.Config{URL: server.URL()})
		for b.Loop() {
			found, err := registry.Services(b.Context())
			if err != nil || len(found) != services || len(found["service-7"]) != instances {
				b.Fatalf("%d services, %d instances, %v", len(found), len(found["service-7"]), err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/services, "µs/list")
	}
	b.Run("zookeeper", func(b *testing.B) {
		server := discoverytest.Started(b, discoverytest.ZooKeeper{})
		conn := discoverytest.ZooKeeperClient(b, server.Port)
		each(func(name, address string) {
			_, _ = conn.Create("/"+name, nil, 0, zk.WorldACL(zk.PermAll))
			if _, err := conn.Create("/"+name+"/"+address, []byte(`{"Weight":10,"Tags":{}}`), 0, zk.WorldACL(zk.PermAll)); err != nil {
				b.Fatal(err)
			}
		})
		run(b, server)
	})
	b.Run("etcd", func(b *testing.B) {
		kind := discoverytest.Etcd{}
		server := discoverytest.Started(b, kind)
		client := kind.Client(b, server.Port)
		each(func(name, address string) {
			if _, err := client.Put(b.Context(), "kitex/registry-etcd/"+name+"/"+address, fmt.Sprintf(`{"address":%q}`, address)); err != nil {
				b.Fatal(err)
			}
		})
		run(b, server)
	})
}
