# make demo     both clouds simulated, the exporter on :10199; no account needed
# make test     all tests
# make help     the rest

.DEFAULT_GOAL := build
.PHONY: help build demo demo-alert demo-stack test race check format vet lint vulnerabilities rules dashboards pages fuzz e2e bench matrix mutants soak clean

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOLS   := .tools/bin
PROMETHEUS_VERSION_PACKAGE := github.com/prometheus/common/version
LDFLAGS := -s -w \
	-X $(PROMETHEUS_VERSION_PACKAGE).Version=$(VERSION) \
	-X $(PROMETHEUS_VERSION_PACKAGE).Revision=$(shell git rev-parse HEAD 2>/dev/null) \
	-X $(PROMETHEUS_VERSION_PACKAGE).Branch=$(shell git rev-parse --abbrev-ref HEAD 2>/dev/null)

# The same flags for the program and its tests: then the Graph SDK is compiled once.
export GOFLAGS ?= -buildvcs=false -trimpath
export CGO_ENABLED ?= 0

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

build: ## bin/entra-aws-exporter and bin/entra-aws-simulator
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/entra-aws-exporter ./cmd/exporter
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/entra-aws-simulator ./cmd/simulator

demo: build ## run the exporter against simulated clouds until Ctrl-C
	@./deploy/demo/demo.sh

demo-alert: ## what Alertmanager would post to the demo, and the rotation that follows
	@./deploy/demo/alert.sh

demo-stack: build ## the whole loop with real Prometheus and Alertmanager, until Ctrl-C (ONCE=1: until the alert is resolved)
	@.ci/tools prometheus alertmanager promtool amtool
	@./deploy/demo/stack.sh $(if $(ONCE),--once)

# The rotation's matrices and mutants run by themselves, for the table that they print.
PROOF := ^Test(CrashMatrix|QuirkMatrix|Mutants)$$

test: ## all tests; those of the rotation end with a table of what was played
	$(GO) test -timeout 30m -skip '$(PROOF)' ./...
	$(GO) test -timeout 30m -v -run '$(PROOF)' ./internal/state ./rotate

race: ## the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m -skip 'Matrix|Mutants' ./...
	CGO_ENABLED=1 MATRIX=25 $(GO) test -race -timeout 30m -run 'CrashMatrix' ./rotate

check: format vet lint rules dashboards fuzz race vulnerabilities ## everything a change must pass

format:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:" $$unformatted; exit 1; fi

vet:
	$(GO) vet -tags e2e ./...

lint:
	@.ci/tools golangci-lint
	$(TOOLS)/golangci-lint run ./...

rules: build ## the metrics, rules and Alertmanager configuration through Prometheus's own tools
	@.ci/tools promtool amtool
	./deploy/check.sh

dashboards: ## the dashboards against Grafana's published types (skipped without npm)
	./deploy/grafana/check/check.sh

pages: ## the status page in Chromium: axe-core, and pictures in dist/pages (skipped without npm or Chromium)
	./test/e2e/page/check.sh dist/pages

fuzz: ## each fuzz target for FUZZTIME
	./.ci/fuzz $(FUZZTIME)
FUZZTIME ?= 20s

vulnerabilities: ## govulncheck, where its database can be reached
	@.ci/tools govulncheck
	./.ci/vulnerabilities

e2e: build ## the real binary with real Prometheus and Alertmanager
	@.ci/tools prometheus alertmanager promtool amtool
	$(GO) test -tags e2e -count=1 -timeout 20m -parallel 12 -v ./test/e2e

bench: ## benchmarks, each beside its floor
	$(GO) test -run '^$$' -bench . -benchmem ./collector

matrix: ## every scenario of the rotation's crash and quirk matrices, and of the one on the wire
	MATRIX=full $(GO) test ./rotate ./internal/app -run 'Matrix|ALongLog' -count=1 -timeout 120m -v

mutants: ## every deliberate mistake in the rotation must be caught
	MUTANTS=full $(GO) test ./internal/state ./rotate -run '^TestMutants$$' -count=1 -timeout 60m -v

soak: build ## 100 × kill -9 of the real binary in the middle of rotations
	SOAK=100 $(GO) test -tags e2e -count=1 -timeout 60m -parallel 12 -v -run Soak ./test/e2e

clean:
	rm -rf bin .tools
