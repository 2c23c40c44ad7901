package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestTheDatabaseIsWhatWasChosen holds for item and stock; the gateway has none.
func TestTheDatabaseIsWhatWasChosen(t *testing.T) {
	const password = "&password_file=/etc/kiteshop/database/password"
	sets := func(values string) []string {
		return []string{"--set", "postgresql.enabled=false", "--set-string", values}
	}
	for name, c := range map[string]struct {
		args                []string
		url, secret, egress string
		fromSecret          bool
	}{
		"bundled": {nil, "postgres://kiteshop@postgresql:5432/kiteshop?sslmode=disable" + password, "postgresql-auth", "postgresql:5432", false},
		"elsewhere": {
			sets("global.database.url=postgres://shop@db.infra:6432/shop?sslmode=verify-full,global.database.secret=mine"),
			"postgres://shop@db.infra:6432/shop?sslmode=verify-full" + password, "mine", ":6432", false,
		},
		"elsewhere without a password": {
			sets("global.database.url=postgres://shop@db.infra/shop"), "postgres://shop@db.infra/shop", "", ":5432", false,
		},
		"elsewhere, all of it secret": {append(shapes()["prod"], "--set", "global.database.port=6432"), "", outside, ":6432", true},
		"files":                       {shapes()["sqlite"], "", "", "", false},
		"files, chosen as before there was a choice": {
			[]string{"--set", "item.storage.kind=persistent,item.storage.keep=true,stock.storage.kind=ephemeral"}, "", "", "", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects := render(t, c.args...)
			for _, room := range []string{"item", "stock"} {
				checkDatabase(t, objects, room, c.url, c.secret, c.egress, c.fromSecret)
			}
			checkDatabase(t, objects, "gateway", "", "", "", false)
		})
	}
}

func checkDatabase(t *testing.T, objects []object, room, url, secret, egress string, fromSecret bool) {
	t.Helper()
	settings := labels(find(objects, "ConfigMap", room), "data")
	if got := settings["KITESHOP_STORE"]; got != url {
		t.Errorf("%s: the URL is %q, want %q", room, got, url)
	}
	spec := at(find(objects, "Deployment", room), "spec", "template", "spec")
	if files := settings["KITESHOP_DATA"] != ""; room != "gateway" && files == (egress != "") {
		t.Errorf("%s keeps files: %t, beside the database %q", room, files, egress)
	}
	mounted := ""
	for _, volume := range list(spec, "volumes") {
		if text(volume, "name") == "database" {
			mounted = text(volume, "secret", "secretName")
		}
	}
	if mounted != secret {
		t.Errorf("%s: the Secret is %q, want %q", room, mounted, secret)
	}
	variable := false
	for _, v := range list(spec, "containers", 0, "env") {
		variable = variable || text(v, "name") == "KITESHOP_STORE" &&
			text(v, "valueFrom", "secretKeyRef", "name") == secret && text(v, "valueFrom", "secretKeyRef", "key") == "url"
	}
	if variable != fromSecret {
		t.Errorf("%s has the URL from the Secret: %t, want %t", room, variable, fromSecret)
	}
	// Of the two registries and the collector nobody has these ports.
	opened := ""
	for _, rule := range list(find(objects, "NetworkPolicy", room), "spec", "egress") {
		if port := number(rule, "ports", 0, "port"); port == 5432 || port == 6432 {
			opened = fmt.Sprintf("%s:%d", text(rule, "to", 0, "podSelector", "matchLabels", "app.kubernetes.io/name"), port)
		}
	}
	if opened != egress {
		t.Errorf("%s: the policy opens %q, want %q", room, opened, egress)
	}
}

// TestPasswordsAreInSecretsOnly: those that the charts make.
func TestPasswordsAreInSecretsOnly(t *testing.T) {
	objects := render(t)
	for _, name := range []string{"zookeeper-auth", "postgresql-auth", "grafana-auth"} {
		password := text(find(objects, "Secret", name), "stringData", "password")
		if len(password) < 32 {
			t.Errorf("the password of %s has %d characters, want 32", name, len(password))
		}
		for _, o := range objects {
			content, err := yaml.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if o.kind() != "Secret" && strings.Contains(string(content), password) {
				t.Errorf("%s %s has the password of %s", o.kind(), o.name(), name)
			}
		}
	}
}

func TestTheBundledPostgreSQL(t *testing.T) {
	objects := renderChart(t, "charts/postgresql")
	set := find(objects, "StatefulSet", "postgresql")
	spec := at(set, "spec", "template", "spec")
	if number(spec, "securityContext", "runAsUser") != 999 || number(spec, "securityContext", "fsGroup") != 999 {
		t.Errorf("the image's user is 999: %v", at(spec, "securityContext"))
	}
	mounts := map[string]bool{}
	for _, m := range list(spec, "containers", 0, "volumeMounts") {
		mounts[text(m, "mountPath")] = true
	}
	for _, v := range list(spec, "containers", 0, "env") {
		switch value := text(v, "value"); text(v, "name") {
		case "PGDATA":
			if mounts[value] || !mounts[filepath.Dir(value)] {
				t.Errorf("the data is in %s, which is no folder of a volume: %v", value, mounts)
			}
		case "POSTGRES_PASSWORD_FILE":
			if !mounts[filepath.Dir(value)] {
				t.Errorf("nothing is mounted where %s is", value)
			}
		}
	}
	rules := text(find(objects, "ConfigMap", "postgresql"), "data", "pg_hba.conf")
	if strings.Contains(rules, "trust") || !strings.Contains(rules, "host  kiteshop kiteshop all scram-sha-256\n") {
		t.Errorf("who comes by the network and how:\n%s", rules)
	}
	for value, want := range map[string]string{"false": "Delete", "true": "Retain"} {
		objects := renderChart(t, "charts/postgresql", "--set", "storage.keep="+value)
		if got := text(find(objects, "StatefulSet", "postgresql"), "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"); got != want {
			t.Errorf("storage.keep=%s: the volume's policy is %s, want %s", value, got, want)
		}
		kept := text(find(objects, "Secret", "postgresql-auth"), "metadata", "annotations", "helm.sh/resource-policy") == "keep"
		if kept != (want == "Retain") {
			t.Errorf("storage.keep=%s: the password is kept: %t", value, kept)
		}
	}
	if objects := renderChart(t, "charts/postgresql", "--set", "auth.secret=mine,storage.kind=ephemeral"); find(objects, "Secret", "postgresql-auth") != nil ||
		at(find(objects, "StatefulSet", "postgresql"), "spec", "volumeClaimTemplates") != nil {
		t.Error("with a Secret and an emptyDir of the user's choice the chart makes others")
	}
}
