package telemetry

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
)

// Diagnosis answers how the parts of one service are now, for people who look
// for what is wrong. Nothing secret may be in what a probe gives.
type Diagnosis struct {
	mu     sync.Mutex
	probes map[string]func() any
}

// Add makes probe answer for name, in the place of the one that did.
// It is called for each who asks, and what it gives is written as JSON.
func (d *Diagnosis) Add(name string, probe func() any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.probes == nil {
		d.probes = map[string]func() any{}
	}
	d.probes[name] = probe
}

// ServeHTTP answers with what the probe that the path names gives, without a name with the names.
func (d *Diagnosis) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path
	d.mu.Lock()
	names, probe := slices.Sorted(maps.Keys(d.probes)), d.probes[name]
	d.mu.Unlock()
	if name == "" {
		probe = func() any { return map[string]any{"probes": names} }
	}
	if probe == nil {
		http.Error(w, fmt.Sprintf("there is no probe %q; there are %q", name, names), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer := json.NewEncoder(w)
	answer.SetEscapeHTML(false) // people read it
	answer.SetIndent("", "  ")
	found := probe()
	if err := answer.Encode(found); err != nil { // JSON has no words for it, as for a function; nothing is written yet
		_ = answer.Encode(fmt.Sprintf("%+v", found))
	}
}
