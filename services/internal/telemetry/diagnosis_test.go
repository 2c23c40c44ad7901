package telemetry_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

func TestAProbeIsAskedForEachWhoAsks(t *testing.T) {
	t.Parallel()
	asked := 0
	var d telemetry.Diagnosis
	d.Add("pool", func() any { return "replaced" })
	d.Add("pool", func() any { asked++; return map[string]int{"asked": asked} })
	d.Add("a/function", func() any { return []any{7, (func())(nil)} })
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"", "{\n  \"probes\": [\n    \"a/function\",\n    \"pool\"\n  ]\n}\n", http.StatusOK},
		{"pool", "{\n  \"asked\": 1\n}\n", http.StatusOK},
		{"pool", "{\n  \"asked\": 2\n}\n", http.StatusOK},
		{"a/function", "\"[7 <nil>]\"\n", http.StatusOK},
		{"a", "there is no probe \"a\"; there are [\"a/function\" \"pool\"]\n", http.StatusNotFound},
	} {
		answer := httptest.NewRecorder()
		http.StripPrefix("/", &d).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/"+c.name, nil))
		if answer.Code != c.status || answer.Body.String() != c.body {
			t.Errorf("%q: %d %q, want %d %q", c.name, answer.Code, answer.Body, c.status, c.body)
		}
	}
}
