//go:build cluster

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// asked is so often that a tenth of the traces is not none.
const asked = 200

// telemetry asks Prometheus and Jaeger for what the shop has done.
func (c *cluster) telemetry() (string, error) {
	if err := c.askOften(); err != nil {
		return "", err
	}
	prometheus, stop, err := forward("svc/prometheus", "9090")
	if err != nil {
		return "", err
	}
	defer stop()
	var seen []string
	for _, want := range []struct {
		query string
		least float64
	}{
		// That of an item, by each pod of the gateway, whose names the collector had from the cluster.
		{`sum(http_server_request_duration_seconds_count{job="kiteshop/gateway",http_route="/api/v1/items/:id",k8s_deployment_name="gateway",k8s_pod_name!="",k8s_node_name!="",k8s_namespace_name="` + namespace + `"})`, asked},
		{`count(count by (job) (target_info{job=~"kiteshop/.+"}))`, float64(len(rooms()))},
		{`min(up)`, 1},
		{`sum(otelcol_receiver_accepted_spans)`, asked},
		{`sum(otelcol_processor_tail_sampling_global_count_traces_sampled{sampled="true"})`, 1},
	} {
		value, err := atLeast(prometheus, want.query, want.least)
		if err != nil {
			return "", err
		}
		seen = append(seen, fmt.Sprintf("%.0f = %s", value, want.query))
	}
	if err := errors.Join(rulesAreHealthy(prometheus), examplesAreThere(prometheus)); err != nil {
		return "", err
	}
	traces := "no Jaeger"
	if c.others()["jaeger"] != "" {
		traces, err = tracesAreThere()
	}
	return strings.Join(append(seen, traces), "; "), err
}

func (c *cluster) askOften() error {
	shop, stop, err := forward("svc/gateway", "8889")
	if err != nil {
		return err
	}
	defer stop()
	for range asked {
		if status, body, err := send("GET", shop+"/api/v1/items/1024", "", ""); err != nil || status != http.StatusOK {
			return fmt.Errorf("item 1024 is %d %s, error %w", status, body, err)
		}
	}
	return nil
}

// within waits two minutes for try to have no error: the services send four times a minute.
func within(try func() error) error {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// ask decodes the answer of an API.
func ask(address string, into any) error {
	status, body, err := send("GET", address, "", "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s was answered %d %s", address, status, body)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(body), into)
}

func atLeast(prometheus, query string, least float64) (value float64, err error) {
	err = within(func() error {
		var answer struct {
			Data struct {
				Result []struct{ Value []any }
			}
		}
		if err := ask(prometheus+"/api/v1/query?query="+url.QueryEscape(query), &answer); err != nil {
			return err
		}
		if len(answer.Data.Result) != 1 {
			return fmt.Errorf("%s has %d results", query, len(answer.Data.Result))
		}
		if _, err := fmt.Sscan(fmt.Sprint(answer.Data.Result[0].Value[1]), &value); err != nil || value < least {
			return fmt.Errorf("%s is %g, want at least %g, error %w", query, value, least, err)
		}
		return nil
	})
	return value, err
}

func rulesAreHealthy(prometheus string) error {
	return within(func() error {
		var answer struct {
			Data struct {
				Groups []struct {
					Rules []struct{ Name, Health, LastError string }
				}
			}
		}
		if err := ask(prometheus+"/api/v1/rules", &answer); err != nil {
			return err
		}
		rules := 0
		for _, group := range answer.Data.Groups {
			for _, rule := range group.Rules {
				rules++
				if rule.Health != "ok" {
					return fmt.Errorf("the rule %s is %s: %s", rule.Name, rule.Health, rule.LastError)
				}
			}
		}
		if rules == 0 {
			return errors.New("there is no rule")
		}
		return nil
	})
}

// examplesAreThere demands that a measurement leads to a trace.
func examplesAreThere(prometheus string) error {
	return within(func() error {
		var answer struct {
			Data []struct {
				Exemplars []struct{ Labels map[string]string }
			}
		}
		now := time.Now()
		query := url.Values{
			"query": {"http_server_request_duration_seconds_bucket"},
			"start": {fmt.Sprint(now.Add(-time.Hour).Unix())}, "end": {fmt.Sprint(now.Unix())},
		}
		if err := ask(prometheus+"/api/v1/query_exemplars?"+query.Encode(), &answer); err != nil {
			return err
		}
		for _, series := range answer.Data {
			for _, example := range series.Exemplars {
				if len(example.Labels["trace_id"]) == 32 {
					return nil
				}
			}
		}
		return fmt.Errorf("no example has a trace_id: %v", answer.Data)
	})
}

// tracesAreThere demands that one request is one trace through the services.
func tracesAreThere() (string, error) {
	jaeger, stop, err := forward("svc/jaeger", "16686")
	if err != nil {
		return "", err
	}
	defer stop()
	var seen string
	err = within(func() error {
		var answer struct {
			Data []struct {
				TraceID   string
				Processes map[string]struct{ ServiceName string }
			}
		}
		if err := ask(jaeger+"/api/traces?service=gateway&limit=100&lookback=1h", &answer); err != nil {
			return err
		}
		for _, trace := range answer.Data {
			services := map[string]bool{}
			for _, process := range trace.Processes {
				services[process.ServiceName] = true
			}
			if services["gateway"] && services["item"] && services["stock"] {
				seen = fmt.Sprintf("%d traces of the gateway; %s has gateway, item and stock", len(answer.Data), trace.TraceID)
				return nil
			}
		}
		return fmt.Errorf("of %d traces none has gateway, item and stock", len(answer.Data))
	})
	return seen, err
}
