# postbench: make help says what there is.
GO       ?= go
BIN      := ./postbench
FUZZTIME ?= 10s
# The real parts of the ladder, from Debian 12 (bookworm), and workerd from npm.
DEBIAN    = nginx-light php8.2-fpm php8.2-mysql php-laravel-framework mariadb-server-core mariadb-client-core \
            clickhouse-server redis-server capnproto
WORKERD   = workerd@1.20261117.1
# The presets in the order of the post, then those of ours.
LADDER    = monolith-php,monolith,redis-cache,edge-redis,edge-worker,grpc-stream,udp-batch,hot-path,binary-log,udp-acked,partner-proxy,redis-confirmed
# What measures times runs alone: other packages' tests would be measured along.
TIMED     = ./internal/netem ./internal/kernelnet/...
UNITS     = $$($(GO) list ./... | grep -v -e /internal/e2e -e /internal/netem -e /internal/kernelnet)
.DEFAULT_GOAL := help
export CGO_ENABLED := 0

.PHONY: deps-debian ladder help build compare test race endure lint fuzz generate results clean

help: ## say what the targets do
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build ./postbench
	$(GO) build -buildvcs=auto -o $(BIN) .

compare: build ## the main job: compare three architectures, a minute after the first build
	$(BIN) compare

deps-debian: ## install every real part of the ladder (root, Debian 12, npm); no service is started
	apt-get update -q
	@no=/usr/sbin/policy-rc.d; mine=; \
	  [ -e $$no ] || { printf '#!/bin/sh\nexit 101\n' > $$no && chmod +x $$no && mine=$$no; }; \
	  trap 'rm -f $$mine' EXIT; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get install -y -q --no-install-recommends $(DEBIAN) && \
	  { command -v npm >/dev/null || apt-get install -y -q --no-install-recommends npm; }
	npm install --global --no-audit --no-fund $(WORKERD)

# Exit code 4 means that the machine was too busy to trust the times, and says
# which; the books of the ladder are for TestLadder to judge.
ladder: build ## every architecture of the post on its real parts, two rounds each, 3 minutes at most
	$(BIN) compare --variants $(LADDER) --require all --scenario smoke --rate 100 \
	  --duration 2s --warmup 500ms --settle 500ms --rounds 2 || [ $$? -eq 4 ]

test: ## vet and all tests, about 6 minutes; those that measure run alone, at the end
	$(GO) vet ./...
	$(GO) test -timeout 8m $(UNITS)
	$(GO) test -timeout 8m -p 1 $(TIMED)
	$(GO) test -timeout 8m -parallel 4 ./internal/e2e

race: ## the tests of everything that runs in parallel, under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 8m $(UNITS)
	CGO_ENABLED=1 $(GO) test -race -timeout 8m -p 1 $(TIMED)

endure: ## what takes longer: 200 kills of the store under load, a producer stopped for 20 s
	POSTBENCH_RESTARTS=200 $(GO) test -count=1 -timeout 8m -run TestKilledInALoop ./refserver/store/pebbledb
	POSTBENCH_STOPPED=20s $(GO) test -count=1 -timeout 2m -run TestStoppedProducer ./refserver/lanes

lint: ## gofmt, vet and build for both systems, and the rules of internal/arch
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these files"; exit 1; }
	$(GO) vet ./...
	GOOS=darwin GOARCH=arm64 $(GO) vet ./...
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null .
	$(GO) test -count=1 ./internal/arch

fuzz: ## every fuzz target for FUZZTIME (10s) each
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
	  done; done

generate: ## write the message code of the gRPC stream anew (needs protoc, protoc-gen-go v1.36.12, protoc-gen-go-grpc v1.6.2)
	cd internal/ingestpb && protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative ingest.proto

results: build ## measure every figure of RESULTS.md on this machine and write it anew, about 30 minutes
	$(GO) run ./internal/results -postbench $(BIN) -out RESULTS.md

clean: ## remove what make built
	rm -f $(BIN)
