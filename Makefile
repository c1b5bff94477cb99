# make demo   a whole network on this machine
# make test   everything that a change must pass (what CI runs)
# make help   the rest

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.NOTPARALLEL:
.PHONY: build demo test help setup lint unit race cross dist load scenario fuzz fuzz-long sim sim-tree soak image docker-up docker-down measure measure-join measure-page bench-relay bench-whep figures clean

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOBUILD  = CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# A test that fails is run once more, alone, and what it said the first time is printed: on
# two shared cores one in some thousand runs finds the machine elsewhere. "2 runs, 1 failures"
# in the output is a defect to be traced, of the test or of the product.
GOTEST   = go run gotest.tools/gotestsum@v1.13.0 --format pkgname-and-test-fails --rerun-fails=1 --rerun-fails-max-failures 5

# Packages whose tests start processes, browsers or containers, and watch the clock:
# nothing else runs beside them, and two at a time: they wait more than they work.
SCENARIOS = ./internal/e2e ./internal/browser ./stream/internal/matrix ./internal/docker
# Packages light enough for the race detector in every run.
RACE = ./tree ./stream/... ./node/home
UNIT = $(shell go list ./... | grep -v -e /internal/browser -e /internal/matrix -e /internal/e2e -e /internal/docker)

build: ## bin/wfnode, static
	@$(GOBUILD) -o bin/wfnode ./cmd/wfnode

demo: build ## bootstrap node, speaker and 12 listeners on this machine
	@bin/wfnode demo

test: setup lint unit race cross scenario ## all of it, in this order

setup: ## what the tests need, from Debian's packages
	@scripts/setup

lint: ## gofmt, vet, staticcheck
	@echo "== lint"
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	 if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	@time { go vet ./... && go run $(STATICCHECK) ./...; }

unit: ## unit tests and virtual time
	@echo "== unit"
	@time $(GOTEST) --packages "$(UNIT)" -- -timeout 5m

race: ## the light packages under the race detector
	@echo "== race"
	@time $(GOTEST) --packages "$(RACE)" -- -race -short -timeout 5m

ifdef NAME
scenario: image ## NAME=churn|partition|nat|flashcrowd|volunteer-dies in 20 containers; without NAME the tests with browser, processes, containers
	@go run ./internal/scenario -name $(NAME) -listeners $(or $(LISTENERS),20)
else
scenario: build
	@echo "== scenario"
	@time $(GOTEST) --packages "$(SCENARIOS)" -- -p 2 -count 1 -timeout 12m
endif

FUZZTIME ?= 10s
fuzz: ## every fuzz target for FUZZTIME (10s)
	@git grep -l '^func Fuzz' -- '*_test.go' | while read -r file; do \
	  for f in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
	    echo "== $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x "./$$(dirname "$$file")"; \
	  done; \
	done

fuzz-long: ## every fuzz target (or ONLY='FuzzHop ./dht') until ten minutes bring no new coverage
	@scripts/fuzz-long $(ONLY)

N ?= 10000
sim-tree: ## the tree among N (10000) simulated nodes
	@go run ./tree/treesim/simtree -nodes $(N)

SEED ?= 1
CHURN ?= 3m
MEM ?= 12GiB
PLOTS ?= out
sim: ## N (300) whole nodes in virtual time, SEED, CHURN: a table, and plots in PLOTS (out)
	@GOGC=400 GOMEMLIMIT=$(MEM) go test ./internal/vnettest -count 1 -timeout 2h -v -run 'TestSimulation$$' \
	  -sim $(if $(filter file,$(origin N)),300,$(N)) -seed $(SEED) -churn $(CHURN) -plots $(abspath $(PLOTS))

cross: ## wfnode and all it imports fit every system that is shipped (types); windows/amd64 is built
	@echo "== cross"
	@time go run ./internal/cross linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
	@time CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go build -trimpath -o /dev/null ./cmd/wfnode

dist: ## archives for every platform with checksums, and the image, in bin/dist
	@scripts/dist $(VERSION)

load: build ## N (1000) peers at one bootstrap node on loopback: its memory and CPU
	@go run ./internal/load -peers $(or $(PEERS),1000) bin/wfnode

SOAK ?= 10m
soak: build ## a bare relay, then a whole node, with 20 children for SOAK (10m) each: does its memory grow?
	@go run ./internal/soak -for $(SOAK)
	@go run ./internal/soak -for $(SOAK) -node bin/wfnode

image: build ## the docker image waterfall, from scratch
	@rm -rf bin/image && mkdir -p bin/image/data && cp bin/wfnode bin/image/
	@docker build -q -t waterfall -f internal/docker/Dockerfile bin/image
	@docker image prune -f --filter label=project=waterfall >/dev/null # those it replaces

docker-up: image ## 2 bootstrap nodes, a speaker and 12 listeners on two docker networks
	@internal/docker/up

docker-down: ## and away with them
	@internal/docker/down

measure: build measure-join measure-page ## the figures of docs/measurements.md that take real processes
	@go test -v -count 1 -timeout 20m ./internal/e2e \
	  -run 'TestDemo|LayerThree|LayerOne|AboveAPlayer|TestMemory|TestBinarySize|OneNAT' -args -long | grep -v '^=== '

measure-join: build ## how fast a fresh process joins, p50 of 10
	@go test -run '^$$' -bench Join -benchtime 10x -timeout 10m ./internal/e2e

measure-page: build ## how fast the page paints, and its tree follows a kill
	@go test -run '^$$' -bench Page -benchtime 5x -timeout 10m ./internal/e2e

RUNS ?= 3
bench-relay: build ## CPU a forwarded packet beside pion's example (WHIPBENCH=folder of whipbench)
	@internal/bench/relay $(RUNS)

bench-whep: build ## the same for a node as WHIP to WHEP server, to 20 and 100 viewers
	@internal/bench/whep $(RUNS)

figures: build ## all figures of the media plane but the soak in one table, 15 min with RUNS=3, nothing else may run
	@internal/bench/figures $(RUNS)

clean:
	@rm -rf bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
