package transport_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// diagnose gives what a probe finds, as JSON does.
func diagnose(t *testing.T, tel *telemetry.Telemetry, probe string) any {
	t.Helper()
	answer := httptest.NewRecorder()
	http.StripPrefix("/", tel.Diagnosis).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/"+probe, nil))
	var found any
	if err := json.Unmarshal(answer.Body.Bytes(), &found); err != nil || answer.Code != http.StatusOK {
		t.Fatalf("%s: %d, %v: %s", probe, answer.Code, err, answer.Body)
	}
	return found
}

// TestDiagnosisKnowsEachClientAndTheServer has two clients made with the same options.
func TestDiagnosisKnowsEachClientAndTheServer(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: titled("Kitex")})
	tel := quiet(t)
	options, err := transport.ClientOptions("tests", static(t, "item="+server.Addr().String()+",activity="+refusing(t)), nil, tel)
	if err != nil {
		t.Fatal(err)
	}
	kitex, err := itemservice.NewClient("item", options...)
	if err != nil {
		t.Fatal(err)
	}
	other, err := activityservice.NewClient("activity", options...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kitex.GetItem(t.Context(), &item.GetItemReq{Id: 7}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.GetTrending(t.Context(), nil); err == nil {
		t.Error("a port that refuses answers")
	}
	want := []any{
		"client/activity/conn_pool", "client/activity/events", "client/activity/options", "client/activity/passed_over", "client/activity/service_infos",
		"client/item/conn_pool", "client/item/events", "client/item/options", "client/item/passed_over", "client/item/service_infos",
	}
	if got := diagnose(t, tel, ""); !reflect.DeepEqual(got, map[string]any{"probes": want}) {
		t.Errorf("the probes are %v, want %v", got, want)
	}
	for _, name := range want {
		diagnose(t, tel, name.(string))
	}
	pool, _ := diagnose(t, tel, "client/item/conn_pool").(map[string]any)[server.Addr().String()].(map[string]any)
	if pool["idle_num"] != 1.0 {
		t.Errorf("the pool has %v, want one connection that waits", pool)
	}
	if avoided := diagnose(t, tel, "client/activity/passed_over").(map[string]any); len(avoided) > 1 { // it is forgotten after a second
		t.Errorf("passed over are %v", avoided)
	}
	if options := diagnose(t, tel, "client/item/options").([]any); !slices.Contains(options, any("WithRPCTimeout(3000ms)")) {
		t.Errorf("the options are %v", options)
	}
	methods := diagnose(t, tel, "client/activity/service_infos").(map[string]any)["ActivityService"].(map[string]any)["methods"]
	if want := map[string]any{"GetTrending": "one request, one answer", "RecordSale": "oneway", "RecordView": "oneway"}; !reflect.DeepEqual(methods, want) {
		t.Errorf("the methods are %v, want %v", methods, want)
	}
	served := diagnose(t, server.tel, "server/service_infos").(map[string]any)["ItemService"].(map[string]any)
	if served["package"] != "item" || served["payload"] != "Protobuf" {
		t.Errorf("the server has %v", served)
	}
	for _, option := range diagnose(t, server.tel, "server/options").([]any) {
		if strings.HasPrefix(option.(string), "WithReadWriteTimeout(") && option != "WithReadWriteTimeout(5s)" {
			t.Errorf("the server has %v", option)
		}
	}
}
