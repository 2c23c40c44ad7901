module github.com/kiteshop/kiteshop/charts/observability/source

go 1.26.0

require (
	github.com/grafana/grafana-foundation-sdk/go v0.0.12
	go.yaml.in/yaml/v3 v3.0.5
)
