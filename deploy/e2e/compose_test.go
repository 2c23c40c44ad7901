package e2e

import (
	"crypto/tls"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const composeFolder = root + "/deploy/compose"

var update = flag.Bool("update", false, "write deploy/compose/rendered instead of comparing it")

// composed is what Docker Compose makes of compose.yaml, by its own parser.
func composed(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{composeFolder + "/compose.yaml"}, cli.WithProfiles(profiles), cli.WithoutEnvironmentResolution)
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// likeCompose are the values with which the charts are as compose.yaml: no
// cluster is asked whose pods there are.
func likeCompose(t *testing.T) []object {
	t.Helper()
	return render(t, "--set", "otel-collector.kubernetes.enabled=false")
}

func workload(t *testing.T, objects []object, name string) object {
	t.Helper()
	for _, w := range workloads(objects) {
		if w.name() == name {
			return w
		}
	}
	t.Fatalf("no chart has a workload %q", name)
	return nil
}

func TestComposeHasWhatTheChartsInstall(t *testing.T) {
	t.Parallel()
	var installed []string
	for _, w := range workloads(likeCompose(t)) {
		installed = append(installed, w.name())
	}
	slices.Sort(installed)
	if got := composed(t).ServiceNames(); !slices.Equal(got, installed) {
		t.Errorf("compose.yaml runs %v, the charts %v", got, installed)
	}
}

// TestComposeSaysWhatTheChartsSay: images, users, commands, settings, limits.
func TestComposeSaysWhatTheChartsSay(t *testing.T) {
	t.Parallel()
	objects := likeCompose(t)
	for name, service := range composed(t).Services {
		pod := at(workload(t, objects, name), "spec", "template", "spec")
		container := at(pod, "containers", 0)
		if want := text(container, "image"); service.Image != want {
			t.Errorf("%s: image %s, in the chart %s", name, service.Image, want)
		}
		if want := fmt.Sprintf("%d:%d", number(pod, "securityContext", "runAsUser"), number(pod, "securityContext", "runAsGroup")); service.User != want {
			t.Errorf("%s: user %s, in the chart %s", name, service.User, want)
		}
		var args []string
		for _, arg := range list(container, "args") {
			args = append(args, fmt.Sprint(arg))
		}
		if !slices.Equal([]string(service.Command), args) {
			t.Errorf("%s: command %q, in the chart %q", name, service.Command, args)
		}
		if got, want := service.MemLimit, types.UnitBytes(mebibytes(t, text(container, "resources", "limits", "memory")))<<20; got != want {
			t.Errorf("%s: %d bytes of memory, in the chart %d", name, got, want)
		}
		if seconds, ok := at(pod, "terminationGracePeriodSeconds").(int); ok && (service.StopGracePeriod == nil || time.Duration(*service.StopGracePeriod) != time.Duration(seconds)*time.Second) {
			t.Errorf("%s: %v to stop, in the chart %d s", name, service.StopGracePeriod, seconds)
		}
		got := map[string]string{}
		for key, value := range service.Environment {
			got[key] = *value
		}
		if want := environment(objects, container); !maps.Equal(got, want) {
			t.Errorf("%s: environment\n%v, in the chart\n%v", name, got, want)
		}
	}
}

// environment is what a container is told, but for what only a pod has.
func environment(objects []object, container any) map[string]string {
	told := map[string]string{}
	for _, source := range list(container, "envFrom") {
		maps.Copy(told, labels(find(objects, "ConfigMap", text(source, "configMapRef", "name")), "data"))
	}
	for _, v := range list(container, "env") {
		if value, ok := at(v, "value").(string); ok && !strings.Contains(value, "$(POD_") {
			told[text(v, "name")] = value
		}
	}
	return told
}

func TestComposeAsksForHealthWhatTheChartsAsk(t *testing.T) {
	t.Parallel()
	objects := likeCompose(t)
	for name, service := range composed(t).Services {
		if name == "otel-collector" {
			continue // its image has no program that could ask
		}
		container := at(workload(t, objects, name), "spec", "template", "spec", "containers", 0)
		probe := at(container, "readinessProbe")
		want := []string{"CMD"}
		switch port := text(probe, "httpGet", "port"); {
		case port == "":
			for _, word := range list(probe, "exec", "command") {
				want = append(want, fmt.Sprint(word))
			}
		case slices.Contains(rooms(), name):
			want = append(want, "/kiteshop", "ready", fmt.Sprintf("127.0.0.1:%d", portOf(container, port)))
		default:
			want = append(want, "wget", "-q", "-O", "/dev/null", fmt.Sprintf("http://127.0.0.1:%d%s", portOf(container, port), text(probe, "httpGet", "path")))
		}
		if service.HealthCheck == nil || !slices.Equal([]string(service.HealthCheck.Test), want) {
			t.Errorf("%s: health check %v, want %q", name, service.HealthCheck, want)
		}
	}
}

func portOf(container any, name string) int {
	for _, p := range list(container, "ports") {
		if text(p, "name") == name {
			return number(p, "containerPort")
		}
	}
	return 0
}

func TestComposeGivesNobodyMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	project := composed(t, "test")
	if _, ok := project.Services["smoke"]; !ok {
		t.Error("the profile test has no smoke")
	}
	for name, service := range project.Services {
		if !service.ReadOnly || service.Privileged || !slices.Equal(service.CapDrop, []string{"ALL"}) || len(service.CapAdd) > 0 ||
			!slices.Equal(service.SecurityOpt, []string{"no-new-privileges:true"}) || service.MemLimit == 0 {
			t.Errorf("%s may do more than it must", name)
		}
		if user, _, _ := strings.Cut(service.User, ":"); user == "0" || user == "" || user == "root" {
			t.Errorf("%s runs as root", name)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to others than this machine", name, port.Published)
			}
		}
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind && !volume.ReadOnly {
				t.Errorf("%s may write into %s", name, volume.Source)
			}
		}
		for key, value := range service.Environment {
			if strings.Contains(strings.ToLower(key), "password") && !strings.HasPrefix(*value, "/") {
				t.Errorf("%s: %s is a password, and not a file with one", name, key)
			}
		}
	}
}

// TestWhatComposeMountsIsWhereTheChartsHaveIt: each file is there, and a container
// sees it where a pod does.
func TestWhatComposeMountsIsWhereTheChartsHaveIt(t *testing.T) {
	t.Parallel()
	objects := likeCompose(t)
	for name, service := range composed(t).Services {
		var want []string
		for _, m := range list(workload(t, objects, name), "spec", "template", "spec", "containers", 0, "volumeMounts") {
			if volume := text(m, "name"); slices.Contains([]string{"config", "rules", "dashboards", "policies"}, volume) {
				want = append(want, text(m, "mountPath"))
			}
		}
		var got []string
		for _, volume := range service.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			info, err := os.Stat(volume.Source)
			if err != nil {
				t.Errorf("%s mounts what is not there: %v", name, err)
				continue
			}
			target := volume.Target
			if !info.IsDir() && !slices.Contains(want, target) {
				target = filepath.Dir(target) // of a pod's folder with this one file
			}
			got = append(got, target)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: mounted at %q, in the chart at %q", name, got, want)
		}
	}
}

// TestComposeLetsEachWriteWhereThePodsDo: a file system in memory has the mode of
// the image's folder, and belongs to root, unless it is told.
func TestComposeLetsEachWriteWhereThePodsDo(t *testing.T) {
	t.Parallel()
	objects := likeCompose(t)
	for name, service := range composed(t).Services {
		writable := map[string]bool{}
		for _, entry := range service.Tmpfs {
			target, options, _ := strings.Cut(entry, ":")
			if !strings.Contains(options, "size=") || !strings.Contains(options, "mode=1777") {
				t.Errorf("%s: %s is without bounds, or root's alone", name, entry)
			}
			writable[target] = true
		}
		for _, volume := range service.Volumes {
			writable[volume.Target] = volume.Type == types.VolumeTypeVolume
		}
		for _, m := range list(workload(t, objects, name), "spec", "template", "spec", "containers", 0, "volumeMounts") {
			if name == "jaeger" && text(m, "name") == "data" {
				continue // it keeps traces in memory
			}
			if at(m, "readOnly") != true && !writable[text(m, "mountPath")] {
				t.Errorf("%s cannot write to %s, and a pod can", name, text(m, "mountPath"))
			}
		}
	}
}

func TestComposeBuildsItsImagesFromTheDockerfile(t *testing.T) {
	t.Parallel()
	services := composed(t, "test").Services
	for _, name := range append(rooms(), "smoke") {
		build := services[name].Build
		if build == nil {
			t.Errorf("%s is not built", name)
			continue
		}
		if _, err := os.Stat(filepath.Join(build.Context, build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		service, version := build.Args["SERVICE"], build.Args["VERSION"]
		if service == nil || version == nil || services[name].Image != "ghcr.io/kiteshop/"+*service+":"+*version || *service != name {
			t.Errorf("%s: image %s is built with %v", name, services[name].Image, build.Args)
		}
	}
}

// TestWhatTheChartsRenderForCompose holds of the files that are templates in the
// charts, and that Compose needs as files.
func TestWhatTheChartsRenderForCompose(t *testing.T) {
	t.Parallel()
	objects := likeCompose(t)
	made := map[string]string{}
	for _, name := range []string{"policies", "zookeeper", "postgresql", "prometheus", "jaeger", "grafana"} {
		for file, content := range labels(find(objects, "ConfigMap", name), "data") {
			made[name+"/"+file] = content
		}
	}
	folder := composeFolder + "/rendered"
	if *update {
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
		for file, content := range made {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, file)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	for file, content := range made {
		if got, err := os.ReadFile(filepath.Join(folder, file)); err != nil || string(got) != content {
			t.Errorf("%s is not what the charts render, error %v: make rendered", file, err)
		}
	}
	if files, err := filepath.Glob(folder + "/*/*"); err != nil || len(files) != len(made) {
		t.Errorf("there are %q, error %v, and the charts render %d files: make rendered", files, err, len(made))
	}
}

func TestEveryPasswordOfComposeIsMadeOnceAndForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, err := os.ReadFile(composeFolder + "/passwords")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/passwords", program, 0o700); err != nil {
		t.Fatal(err)
	}
	run := func() map[string]string {
		if output, err := exec.Command("sh", dir+"/passwords").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		made := map[string]string{}
		for name, secret := range composed(t).Secrets {
			content, err := os.ReadFile(filepath.Join(dir, "secrets", filepath.Base(secret.File)))
			if err != nil {
				t.Fatal(err)
			}
			made[name] = string(content)
		}
		return made
	}
	first := run()
	seen := map[string]bool{}
	for name, secret := range first {
		switch {
		case slices.Contains(rooms(), name):
			certificate, err := os.ReadFile(filepath.Join(dir, "secrets", name+".crt"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tls.X509KeyPair(certificate, []byte(secret)); err != nil || seen[secret] || !strings.Contains(first["trust"], string(certificate)) {
				t.Errorf("%s has no key of its own, or trust has not its certificate: %v", name, err)
			}
		case name != "trust" && (len(secret) != 48 || seen[secret]):
			t.Errorf("the password of %s has %d characters, want 48 of its own", name, len(secret))
		}
		seen[secret] = true
	}
	if again := run(); len(first) == 0 || !maps.Equal(again, first) {
		t.Error("a second run makes other passwords, and PostgreSQL keeps its first")
	}
	if info, err := os.Stat(dir + "/secrets"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may enter the folder: %s, error %v", strconv.FormatUint(uint64(info.Mode().Perm()), 8), err)
	}
}
