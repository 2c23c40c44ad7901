package e2e

import (
	"strings"
	"testing"
)

func TestBadValuesAreRefusedWithASentence(t *testing.T) {
	for _, c := range []struct{ set, want string }{
		{"itme.replicas=1", "additional properties 'itme' not allowed"},
		{"item.replica=1", "additional properties 'replica' not allowed"},
		{"item.image.tga=1", "additional properties 'tga' not allowed"},
		{"global.registry.adress=a:1", "additional properties 'adress' not allowed"},
		{"zookeeper.storage.sise=1Gi", "additional properties 'sise' not allowed"},
		{"otel-collector.replicas=none", "got string, want integer"},
		{"otel-collector.replicas=2", "each of them would see a part of a trace's spans"},
		{"otel-collector.sampling.percent=101", "maximum: got 101, want 100"},
		{"otel-collector.sampling.slowMilliseconds=0", "minimum: got 0, want 1"},
		{"otel-collector.traces.endpoint=http://jaeger:4317", "does not match pattern"},
		{"global.telemetry.collector=otel-collector", "does not match pattern"},
		{"observability.grafana.auth.password=x", "additional properties 'password' not allowed"},
		{"observability.prometheus.retention.size=1Gi", "does not match pattern"},
		{"observability.jaeger.storage.kind=disk", "value must be one of 'ephemeral', 'persistent'"},
		{"observability.jaeger.enabled=false", "say where traces go"},
		{"observability.prometheusOperator.enabled=true", "the cluster knows no ServiceMonitor"},
		{"gateway.secrets.registry=mine", "'registry'"},
		{"gateway.config.identity-key=mine", "'identity-key'"},
		{"global.policies=mine", "value must be 'policies'"},
		{"policies.log_level=loud", "value must be one of 'debug', 'info', 'warn', 'error'"},
		{"policies.methods.StockService/Reserve.effect=read", "'not' failed"},
		{"policies.timeout=1s", "additional properties 'timeout' not allowed"},
		{"gateway.replicas=two", "got string, want integer"},
		{"postgresql.storage.sise=1Gi", "additional properties 'sise' not allowed"},
		{"postgresql.config.hba_file=x", "'hba_file'"},
		{"postgresql.replicas=2", "this chart runs one server, for trying"},
		{"item.replicas=2,item.storage.kind=persistent", "maximum: got 2, want 1"},
		{"stock.autoscaling.enabled=true,stock.storage.kind=ephemeral", "'/autoscaling/enabled'"},
		{"stock.storage.kind=sqlite", "value must be one of 'none', 'database', 'ephemeral', 'persistent'"},
		{"postgresql.enabled=false", "say where PostgreSQL is"},
		{"global.database.urlSecret=mine", "would start one that nobody uses"},
		{"global.database.url=postgres://shop@db.infra/shop", "would start one that nobody uses"},
		{"global.database.url=postgres://shop@db.infra/shop,global.database.urlSecret=mine", "holds all of the URL"},
		{"global.database.secret=mine", "give both the same Secret"},
		{"postgresql.auth.secret=mine", "give both the same Secret"},
		{"postgresql.enabled=false,global.database.url=postgres://shop:secret@db.infra/shop", "without a password"},
		{"postgresql.enabled=false,global.database.url=postgres://shop:se@c/ret@db.infra/shop", "without a password"},
		{"postgresql.enabled=false,global.database.url=postgres://shop@db.infra/shop?password=secret", "without a password"},
		{"postgresql.enabled=false,global.database.url=db.infra:5432", "must be as postgres://USER@HOST"},
		{"item.config.store=postgres://", "'store'"},
		{"zookeeper.servers=2", "value must be one of 1, 3, 5"},
		{"global.registry.kind=consul", "value must be one of 'zookeeper', 'etcd', 'nacos', 'dns', 'static'"},
		{"global.registry.kind=etcd", "missing property 'address'"},
		{"global.registry.kind=static", "would start a ZooKeeper that nobody uses"},
		{"global.registry.address=zk.infra:2181", "would start a ZooKeeper that nobody uses"},
		{"global.registry.address=zk.infra", "does not match pattern"},
		{"zookeeper.enabled=false", "say where ZooKeeper is"},
		{"item.config.registry=static://", "'registry'"},
		{"gateway.terminationGracePeriodSeconds=5", "minimum: got 5, want 20"},
	} {
		if _, stderr, err := helmTemplate(t, "helm/shop", "--set", c.set); err == nil || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: error %v, want %q in\n%s", c.set, err, c.want, stderr)
		}
	}
	if _, stderr, _ := helmTemplate(t, "helm/shop", "--set", "postgresql.enabled=false,global.database.url=postgres://shop:secret@db.infra/shop"); strings.Contains(stderr, "secret@") {
		t.Errorf("a refused password is shown:\n%s", stderr)
	}
	if _, stderr, err := helmTemplate(t, "charts/service"); err == nil || !strings.Contains(stderr, "image.repository is empty: name the image") {
		t.Errorf("charts/service without an image: error %v\n%s", err, stderr)
	}
}
