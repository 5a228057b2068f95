# Tasks of a developer. `make demo` runs the main job, `make test` passes every test; both install or name what they
# lack. Recipes are short; what takes more is a script.
.PHONY: help demo demo-kafka test test-all bench bench-peers bench-kafka counts counts-growth profile peers kafka kafka-stop setup setup-test page build lint clean
.DEFAULT_GOAL := help

CARGO ?= cargo
BIN := target/release/nearcast
LOADTEST := target/release/nearcast-loadtest
PAGE := web-demo/dist/index.html
PAGE_SOURCES := $(shell find web-demo clients/typescript/src clients/typescript/*.json -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/pictures/*')
# FOR=20 ends a demo after 20 s with its verdict as exit code.
FOR_FLAG := $(if $(FOR),--for $(FOR))
# KILL=8 kills the gateway after 8 s and starts it again; DATA=dir keeps what was done there.
KILL_FLAG := $(if $(KILL),--kill-after $(KILL))
DATA_FLAG := $(if $(DATA),--data $(DATA))
BOTS_FLAG := $(if $(BOTS),--bots $(BOTS))

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: build ## Recorded people move through a gateway: live figures here, a plaza in the browser [FOR=seconds KILL=second DATA=dir BOTS=n]
	$(LOADTEST) demo --gateway $(BIN) $(FOR_FLAG) $(KILL_FLAG) $(DATA_FLAG) $(BOTS_FLAG)

demo-kafka: build kafka ## The same world on two gateways that meet in Apache Kafka [FOR=seconds BOTS=n]
	$(LOADTEST) demo --gateway $(BIN) --kafka "$$(deploy/kafka/kafka.sh bootstrap)" $(FOR_FLAG) $(BOTS_FLAG)

test: ## Everything that CI runs
	deploy/test.sh

test-all: ## The above, and what takes longer
	deploy/test.sh all

bench: build $(if $(filter-out peers%,$(ONLY)),,peers) ## The figures of the README, peers included, medians of three runs; and on Kafka; a page with plots [RUNS=n ONLY=scenario]
	deploy/bench.sh $(ONLY)

bench-peers: build peers ## nearcast, the floor and other servers side by side, as loadtest/README.md says [RUNS=n]
	deploy/bench.sh peers

peers: ## What the servers of the comparison need (Node.js and npm)
	deploy/setup.sh peers
	cd loadtest/peers && npm ci --no-audit --no-fund --loglevel=error

bench-kafka: build ## What a second gateway costs in age [RUNS=n]
	deploy/bench.sh kafka

counts: ## Instructions of each step of a client-tick, against those checked in [STEPS="fold freeze" UPDATE_COUNTS=1]
	deploy/setup.sh build counts
	$(CARGO) bench --locked --workspace --bench counted -- $(STEPS)

counts-growth: ## Instructions of a client-tick as the crowd grows from 100 to 5,000, some minutes [SCENARIOS="grow100 grow5000"]
	deploy/setup.sh build counts
	deploy/growth-counts.sh $(SCENARIOS)

profile: build ## Where the CPU goes under the main load: flame graph and shares, in target/profile (needs perf)
	$(CARGO) build --release --locked --workspace --example flames
	deploy/profile.sh

kafka: ## A local Apache Kafka broker (needs Java and Maven), or the one that KAFKA_BOOTSTRAP names
	deploy/setup.sh kafka
	deploy/kafka/kafka.sh start

kafka-stop: ## Ends it
	deploy/kafka/kafka.sh stop

setup: ## What building needs
	deploy/setup.sh build

setup-test: ## What the tests need besides
	deploy/setup.sh build page counts kafka browser conformance peers

page: $(PAGE) ## The page that the gateway serves (needs Node.js and npm)

$(PAGE): $(PAGE_SOURCES)
	deploy/setup.sh page
	cd clients/typescript && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	cd web-demo && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	@touch $@ src/edge/page.rs # cargo does not see that there is another page to build in

build: setup page ## Gateway with its page, and load test, optimised
	@start=$$(date +%s); $(CARGO) build --release --locked --workspace && echo "built in $$(( $$(date +%s) - start )) s"

lint: ## Format and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets --features planted -- -D warnings

clean: ## Removes what was built
	$(CARGO) clean
