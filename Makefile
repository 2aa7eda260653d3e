# SPDX-License-Identifier: MIT OR Apache-2.0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  = -s -w -X github.com/blufio/blufio/cli.version=$(VERSION)
PACKAGES = ./...
SOAK    ?= 30m

.PHONY: help build run test check race lint generate generated bench soak soak-memory soak-million clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/blufio, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/blufio .

run: build ## build and run the daemon in the foreground; Ctrl-C stops it
	./bin/blufio serve

test: ## every test, in a few minutes
	go test -timeout 8m $(PACKAGES)
	go test -tags failpoint ./services/internal/failpoint

check: lint generated race build ## all that CI asks for beside `make test`

race: ## every test under the race detector
	go test -race -timeout 20m $(PACKAGES)

lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo 'not formatted:'; gofmt -l .; exit 1; }
	go vet $(PACKAGES)
	go vet -tags failpoint,mutate,ungoverned ./services/agent ./services/internal/failpoint ./services/governor
	go tool staticcheck $(PACKAGES)

generate: ## write the generated files: bus/EVENTS.md, CONFIG.md, DOCTOR.md, METRICS.md, contrib
	go generate $(PACKAGES)

generated: generate ## fail when a generated file was not up to date
	git diff --exit-code -- bus/EVENTS.md CONFIG.md DOCTOR.md METRICS.md contrib

bench: ## measure the shipped binary; appends to BENCHMARKS.md (about 10 minutes)
	go run ./services/serve/bench

soak: ## the long proofs: many kills, trouble of every kind, that the proofs can fail, then soak-memory (about 16 and 45 minutes)
	SOAK_KILLS=$${SOAK_KILLS:-500} go test -count 1 -timeout 120m -v ./services/serve/crashtest
	$(MAKE) soak-memory

soak-memory: ## memory under load and attack, drawn and judged: SOAK=30m, or 72h, or 2m for a try
	go run ./services/serve/soak -for $(SOAK) $(SOAK_FLAGS)

soak-million: ## a million turns in 5 000 sessions, as fast as it goes, after 100 000 that fill everything: does memory grow?
	go run ./services/serve/soak -turns 1100000 $(SOAK_FLAGS)

clean: ## remove what was built
	rm -rf bin
