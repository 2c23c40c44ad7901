package transport_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

func TestWhatTheRegistryKnowsIsMeasuredAndShown(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.New("item", telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	life, err := lifecycle.New(tel.Log, lifecycle.Config{Admin: "127.0.0.1:0", Debug: "127.0.0.1:0", StopTimeout: time.Minute}, tel.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(t)
	registry, err := transport.OpenRegistry(discovery.Config{Registry: memory(t)}, tel, life)
	if err != nil {
		t.Fatal(err)
	}
	announcement := registry.Announce(server.Addr(), "item", "example.shop.item")
	registry.Watch("item", "stock")
	await(t, func() bool {
		lists := registry.Report().Lists
		return announcement.Registered() == nil && len(lists[0].Instances) == 1 && !lists[1].LastContact.IsZero()
	})

	recorder := httptest.NewRecorder()
	tel.Metrics.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var got []string
	for _, line := range regexp.MustCompile(`(?m)^(discovery_\w+)\{(?:.*,)?(names?="[^"]*").*\} (\S+)$`).FindAllStringSubmatch(recorder.Body.String(), -1) {
		value := line[3]
		if line[1] == "discovery_list_age_seconds" || line[1] == "discovery_registration_age_seconds" {
			value = "some"
		}
		got = append(got, line[1]+" "+line[2]+" "+value)
	}
	slices.Sort(got)
	want := []string{
		`discovery_instances name="item" 1`, `discovery_instances name="stock" 0`,
		`discovery_list_age_seconds name="item" some`, `discovery_list_age_seconds name="stock" some`,
		`discovery_list_doubted name="item" 0`, `discovery_list_doubted name="stock" 0`,
		`discovery_registered names="item example.shop.item" 1`,
		`discovery_registration_age_seconds names="item example.shop.item" some`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("metrics = %q, want %q", got, want)
	}

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- life.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	resp, err := http.Get("http://" + life.DebugAddr().String() + "/debug/discovery")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var report discovery.Report
	if err := json.NewDecoder(resp.Body).Decode(&report); err != nil {
		t.Fatal(err)
	}
	if len(report.Registrations) != 1 || !report.Registrations[0].Registered || len(report.Lists) != 2 ||
		report.Lists[0].Instances[0].Address != server.Addr().String() {
		t.Errorf("report = %+v", report)
	}
}
