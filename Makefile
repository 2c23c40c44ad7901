# Names for the commands that people type.
.PHONY: run test ci generate lint bench verify

run:      ; go run .
test:     ; go test ./...
ci:       ; .ci/run
generate: ; go generate ./idl
lint:     ; go tool -modfile=.ci/tools.mod golangci-lint run ./...
bench:    ; go run ./bench
# What takes longer than CI may: the crash tests and the fuzzers, many times over.
verify:   ; .ci/verify
