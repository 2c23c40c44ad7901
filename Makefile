# Names for the commands that people type.
.PHONY: run test ci generate dashboards lint bench verify torture mutations images rendered compose e2e-cluster

run:      ; go run .
test:     ; go test ./...
ci:       ; .ci/run
generate: ; go generate ./idl
dashboards: ; go -C charts/observability/source generate .
lint:     ; go tool -modfile=.ci/tools.mod golangci-lint run ./...
bench:    ; go run ./bench
# What takes longer than CI may: the crash tests and the fuzzers, many times over.
verify:   ; .ci/verify
# The stock's promises for hours, and with bugs that tests must catch.
torture:  ; .ci/torture
mutations: ; .ci/mutations
# The images of the charts' version, for the Docker engine at hand.
images:
	for service in item stock activity gateway smoke; do docker build --build-arg SERVICE=$$service --build-arg VERSION=0.1.0 --tag ghcr.io/kiteshop/$$service:0.1.0 . || exit 1; done
# deploy/compose/rendered and deploy/manifests, from the charts. It needs helm.
rendered: ; go test ./deploy/e2e -run TestWhatTheChartsRender -update
# The shop in containers of this machine. It needs Docker Compose.
compose:  ; deploy/compose/passwords && docker compose --file deploy/compose/compose.yaml up --build --wait
# On the cluster that KUBECONFIG names. It needs docker, helm and kubectl; SHORT=-short leaves out the builds of the release before and without a cache.
e2e-cluster: ; go test -tags cluster $(SHORT) -count 1 -v -timeout 120m -run 'Cluster|TestNothingIsLost' ./deploy/e2e
