# make demo   a whole network on this machine
# make test   everything that a change must pass (what CI runs)
# make help   the rest

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.NOTPARALLEL:
.PHONY: build demo test help setup lint unit race cross dist load scenario fuzz sim sim-tree image docker-up docker-down measure measure-join bench-relay clean

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOBUILD  = CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Packages whose tests start processes, browsers or containers, and watch the clock:
# they run alone, one after the other.
SCENARIOS = ./internal/browser ./stream/internal/matrix ./internal/e2e ./internal/docker
# Packages light enough for the race detector in every run. TestForgingRelay closes both
# ends of links in one instant: under the detector's other scheduling pion then waits with
# a lock held, which stops a bubble (internal/vnet Run).
RACE = ./tree ./stream/... ./node/home
NORACE = ^TestForgingRelay$$
UNIT = $(shell go list ./... | grep -v -e /internal/browser -e /internal/matrix -e /internal/e2e -e /internal/docker)

build: ## bin/wfnode, static
	@$(GOBUILD) -o bin/wfnode ./cmd/wfnode

demo: build ## bootstrap node, speaker and 12 listeners on this machine
	@bin/wfnode demo

test: setup lint unit race scenario ## all of it, in this order

setup: ## what the tests need, from Debian's packages
	@scripts/setup

lint: ## gofmt, vet, staticcheck
	@echo "== lint"
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	 if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	@time { go vet ./... && go run $(STATICCHECK) ./...; }

unit: ## unit tests and virtual time
	@echo "== unit"
	@time go test -timeout 5m $(UNIT)

race: ## the light packages under the race detector
	@echo "== race"
	@time go test -race -short -timeout 5m -skip '$(NORACE)' $(RACE)

ifdef NAME
scenario: image ## NAME=churn|partition|nat|flashcrowd|volunteer-dies in 20 containers; without NAME the tests with browser, processes, containers
	@go run ./internal/scenario -name $(NAME) -listeners $(or $(LISTENERS),20)
else
scenario: build
	@echo "== scenario"
	@time go test -p 1 -count 1 -timeout 12m $(SCENARIOS)
endif

FUZZTIME ?= 10s
fuzz: ## every fuzz target for FUZZTIME (10s)
	@git grep -l '^func Fuzz' -- '*_test.go' | while read -r file; do \
	  for f in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
	    echo "== $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")"; \
	  done; \
	done

N ?= 10000
sim-tree: ## the tree among N (10000) simulated nodes
	@go run ./tree/treesim/simtree -nodes $(N)

SEED ?= 1
CHURN ?= 3m
PLOTS ?= out
sim: ## N whole nodes in virtual time, SEED, CHURN: a table, and plots in PLOTS (out)
	@GOGC=400 go test ./internal/vnettest -count 1 -timeout 2h -v -run 'TestSimulation$$' \
	  -sim $(if $(filter file,$(origin N)),300,$(N)) -seed $(SEED) -churn $(CHURN) -plots $(abspath $(PLOTS))

TARGETS = linux/arm64 darwin/arm64 windows/amd64
cross: ## wfnode compiles for every system that is shipped
	@echo "== cross"
	@time for t in $(TARGETS); do \
	  CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} go build -trimpath -o /dev/null ./cmd/wfnode || { echo "not for $$t"; exit 1; }; \
	done

dist: ## archives for every platform with checksums, and the image, in bin/dist
	@scripts/dist $(VERSION)

load: build ## N (1000) peers at one bootstrap node on loopback: its memory and CPU
	@go run ./internal/load -peers $(or $(PEERS),1000) bin/wfnode

image: build ## the docker image waterfall, from scratch
	@rm -rf bin/image && mkdir -p bin/image/data && cp bin/wfnode bin/image/
	@docker build -q -t waterfall -f internal/docker/Dockerfile bin/image
	@docker image prune -f --filter label=project=waterfall >/dev/null # those it replaces

docker-up: image ## 2 bootstrap nodes, a speaker and 12 listeners on two docker networks
	@internal/docker/up

docker-down: ## and away with them
	@internal/docker/down

measure: build measure-join ## the figures of docs/measurements.md that take real processes
	@go test -v -count 1 -timeout 20m ./internal/e2e \
	  -run 'TestDemo|LayerThree|LayerOne|TestMemory|TestBinarySize|OneNAT' -args -long | grep -v '^=== '

measure-join: build ## how fast a fresh process joins, p50 of 10
	@go test -run '^$$' -bench Join -benchtime 10x -timeout 10m ./internal/e2e

RUNS ?= 3
bench-relay: build ## CPU a forwarded packet beside pion's example (WHIPBENCH=folder of whipbench)
	@internal/bench/relay $(RUNS)

clean:
	@rm -rf bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
