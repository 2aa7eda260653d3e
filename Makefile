# SPDX-License-Identifier: MIT OR Apache-2.0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT   = $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS  = -s -w -X github.com/blufio/blufio/cli.version=$(VERSION) -X github.com/blufio/blufio/cli.commit=$(COMMIT)
PACKAGES = ./...
SOAK    ?= 30m

.PHONY: help build package image e2e e2e-rest e2e-docker run test check race lint generate generated embed-oracle embed-bench bench eval soak soak-memory soak-million clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/blufio, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/blufio .

package: ## dist/: .deb and .rpm for amd64 and arm64, the same bytes each time, with what is inside (SBOM)
	deploy/package/build.sh dist

e2e: ## boot a Debian with a real systemd and live through a year of it: install, crash, hang, upgrade, purge (as root, a few minutes)
	deploy/e2e/run.sh

e2e-rest: ## what the packaged daemon holds in memory at rest (4 minutes)
	deploy/e2e/run.sh -run TestRest

image: ## a container image, blufio:latest: the program, certificates and time zones
	deploy/image/build.sh blufio

e2e-docker: ## the same with the image in a real Docker (as root, a minute)
	deploy/e2e/docker.sh

run: build ## build and run the daemon in the foreground; Ctrl-C stops it
	./bin/blufio serve

test: ## every test, in a few minutes
	go test -timeout 8m $(TESTFLAGS) $(PACKAGES)
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

embed-oracle: ## the embedding model's pass against a general ONNX runtime, in a module of its own
	cd services/recall/embed/oracle && go vet -mod=mod ./... && go test -mod=mod ./...

embed-bench: ## speed and memory of the embedders, at the sizes of all-MiniLM-L6-v2 (a few minutes)
	go test -run '^$$' -bench . -benchtime 5x ./services/recall/embed/bert
	go test -run '^$$' -bench . ./services/recall/embed/static ./services/recall/embed/wordpiece

bench: ## measure the shipped binary; appends to BENCHMARKS.md (about 15 minutes; BENCH_FLAGS="-only recall": 3)
	go run ./services/serve/bench $(BENCH_FLAGS)

eval: ## what is remembered of long conversations, and what it costs; appends to BENCHMARKS.md (some 5 minutes)
	go run ./services/serve/eval $(EVAL_FLAGS)

soak: ## the long proofs: many kills, trouble of every kind, that the proofs can fail, backups at length, then soak-memory (about 16, 10 and 45 minutes)
	SOAK_BACKUP_MB=1024 SOAK_KILLS=$${SOAK_KILLS:-500} go test -count 1 -timeout 120m -v ./services/serve/crashtest
	SOAK_BACKUP=1 go test -count 1 -timeout 60m -v ./services/backup/archive
	$(MAKE) soak-memory

soak-memory: ## memory under load and attack, drawn and judged: SOAK=30m, or 72h, or 2m for a try
	go run ./services/serve/soak -for $(SOAK) $(SOAK_FLAGS)

soak-million: ## a million turns in 5 000 sessions, as fast as it goes, after a million that fill everything: does memory grow? (three quarters of an hour)
	go run ./services/serve/soak -turns 2000000 $(SOAK_FLAGS)

clean: ## remove what was built
	rm -rf bin dist
