# make demo     run the exporter on :10199 against simulated AWS and Entra; needs no account
# make test     run all tests
# make help     list all targets

.DEFAULT_GOAL := build
.PHONY: help build demo demo-alert demo-stack test race check format vet lint windows workflows chart terraform release-check vulnerabilities rules dashboards pages fuzz e2e bench matrix mutants soak clean

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOLS   := .tools/bin
PROMETHEUS_VERSION_PACKAGE := github.com/prometheus/common/version
LDFLAGS := -s -w \
	-X $(PROMETHEUS_VERSION_PACKAGE).Version=$(VERSION) \
	-X $(PROMETHEUS_VERSION_PACKAGE).Revision=$(shell git rev-parse HEAD 2>/dev/null) \
	-X $(PROMETHEUS_VERSION_PACKAGE).Branch=$(shell git rev-parse --abbrev-ref HEAD 2>/dev/null) \
	-X $(PROMETHEUS_VERSION_PACKAGE).BuildUser=$(shell id -un)@$(shell uname -n) \
	-X $(PROMETHEUS_VERSION_PACKAGE).BuildDate=$(shell git log -1 --format=%cI 2>/dev/null)

# The program and its tests use the same flags, so that the Graph SDK is compiled once.
export GOFLAGS ?= -buildvcs=false -trimpath
export CGO_ENABLED ?= 0

help: ## list all targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

build: ## build bin/entra-aws-exporter and bin/entra-aws-simulator
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/entra-aws-exporter ./cmd/exporter
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/entra-aws-simulator ./cmd/simulator

demo: build ## run the exporter against simulated AWS and Entra, until Ctrl-C
	@./deploy/demo/demo.sh

demo-alert: ## post an alert to the demo and print the rotation that follows (KIND=certificate: the rollover)
	@./deploy/demo/alert.sh $(KIND)

demo-stack: build ## run the whole loop with real Prometheus and Alertmanager, until Ctrl-C (ONCE=1: until the alert is resolved)
	@.ci/tools prometheus alertmanager promtool amtool
	@./deploy/demo/stack.sh $(if $(ONCE),--once)

# The matrices and mutants of the rotation run on their own, so that their tables are printed last.
# They are short of CPU and not of memory: GOGC=400 saves a fifth of their time.
PROOF := ^Test(CrashMatrix|StateMatrix|QuirkMatrix|RolloverMatrix|RolloverQuirkMatrix|Mutants|GeneratedMutants)$$

test: ## run all tests; those of the rotation print a table of counts
	@.ci/tools dynalite
	$(GO) test -timeout 30m -skip '$(PROOF)' ./...
	GOGC=400 $(GO) test -timeout 60m -v -run '$(PROOF)' ./internal/state ./rotate

race: ## run the tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m -skip 'Matrix|Mutants' ./...
	CGO_ENABLED=1 MATRIX=25 $(GO) test -race -timeout 30m -run 'CrashMatrix' ./rotate

check: format vet lint windows workflows rules dashboards chart terraform release-check fuzz race vulnerabilities ## run everything that a change must pass

format:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:" $$unformatted; exit 1; fi

vet:
	$(GO) vet -tags e2e ./...

lint:
	@.ci/tools golangci-lint
	$(TOOLS)/golangci-lint run ./...

windows:
	GOOS=windows $(GO) build -o /dev/null ./cmd/exporter

workflows:
	@.ci/tools actionlint
	$(TOOLS)/actionlint -shellcheck= -pyflakes=

rules: build ## check metrics, rules and Alertmanager configuration with promtool and amtool
	@.ci/tools promtool amtool
	./deploy/check.sh

dashboards: ## check the dashboards against Grafana's published types (skipped without npm)
	./deploy/grafana/check/check.sh

chart: build ## lint and render the Helm chart, and check it against the schemas of Kubernetes
	@.ci/tools helm kubeconform promtool schemas
	./deploy/kubernetes/check.sh

terraform: ## validate and plan the Terraform modules (skipped without terraform or npm)
	./deploy/terraform/check/check.sh

release-check: ## build one target of a release; check what it contains, runs and exposes
	@.ci/tools goreleaser
	./deploy/package/check.sh

pages: ## check the status page in Chromium with axe-core; screenshots in dist/pages (skipped without npm or Chromium)
	./test/e2e/page/check.sh dist/pages

fuzz: ## run each fuzz target for FUZZTIME (inputs, as 20000x, or a time)
	./.ci/fuzz $(FUZZTIME)
FUZZTIME ?= 20000x

vulnerabilities: ## run govulncheck, if its database can be reached
	@.ci/tools govulncheck
	./.ci/vulnerabilities

e2e: build ## test the real binary with real Prometheus and Alertmanager
	@.ci/tools prometheus alertmanager promtool amtool
	$(GO) test -tags e2e -count=1 -timeout 20m -parallel 12 -v ./test/e2e

bench: build ## measure the real binary and print one table: each figure beside its floor or peer
	@.ci/tools blackbox_exporter dynalite
	BENCH=1 $(GO) test -tags e2e -count=1 -timeout 30m -v -run '^TestBench$$' ./test/e2e

matrix: ## run every scenario of the crash, quirk and wire matrices
	GOGC=400 MATRIX=full $(GO) test ./rotate ./internal/app -run 'Matrix|ALongLog' -count=1 -timeout 120m -v

mutants: ## check that a test catches every deliberate bug
	GOGC=400 MUTANTS=full $(GO) test ./internal/state ./rotate -run '^Test(Generated)?Mutants$$' -count=1 -timeout 90m -v

soak: build ## kill -9 the real binary 100 times during rotations; play a day of a thousand connections whose tenants fail
	FLEET=1000 $(GO) test -count=1 -timeout 30m -v -run '^TestFleet(Day|Start)$$' ./internal/poller ./internal/app
	FLEET=100 $(GO) test -count=1 -timeout 60m -v -run '^TestDayOfFaults$$' ./internal/app
	SOAK=100 $(GO) test -tags e2e -count=1 -timeout 60m -parallel 12 -v -run Soak ./test/e2e

clean: ## delete bin and the installed tools
	rm -rf bin .tools
