#!/usr/bin/env bash
# All tests, in order of cost: `test.sh` is what CI runs, `test.sh all` adds what takes longer. Each step prints its
# name and its seconds; the first that fails ends it. Starts a broker of its own unless KAFKA_BOOTSTRAP names one.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
all=${1:-}
steps=0

# The functions that it runs must end in `|| return 1` what may fail in them: `set -e` is off inside an `if`.
step() {
  local name=$1 start=$SECONDS
  shift
  echo "=== $name"
  if ! "$@"; then
    echo "FAILED: $name" >&2
    exit 1
  fi
  steps=$((steps + 1))
  echo "--- $name: $((SECONDS - start)) s"
}

start_broker() {
  [ -n "${KAFKA_BOOTSTRAP:-}" ] && return
  export KAFKA_DIR=$PWD/.kafka/test KAFKA_PORT=0
  deploy/kafka/kafka.sh start || return 1
  trap 'deploy/kafka/kafka.sh stop' EXIT
  KAFKA_BOOTSTRAP=$(deploy/kafka/kafka.sh bootstrap) || return 1
  export KAFKA_BOOTSTRAP
}

# `bash -n` looks at its first argument only.
scripts_parse() {
  local script
  for script in "$@"; do
    bash -n "$script" || return 1
  done
}

npm_test() {
  (cd "$1" && npm ci --no-audit --no-fund --silent && npm test --silent)
}

step "what is needed" deploy/setup.sh build page counts kafka browser conformance peers
step "format" $cargo fmt --all --check
step "shell scripts parse" scripts_parse deploy/*.sh deploy/kafka/*.sh .ci/run
step "page" make --no-print-directory page
step "clippy, with Kafka" $cargo clippy --release --locked --workspace --all-targets --features planted -- -D warnings
step "build" $cargo build --release --locked --workspace
step "a Kafka broker" start_broker
step "servers to compare with" make --no-print-directory peers
step "unit, contract, socket, RFC 6455 and schema tests" $cargo test --release --locked --workspace
step "counted instructions" $cargo bench --locked --workspace --bench counted
step "simulation: 100 seeds twice, planted bugs" $cargo test --release --locked --features planted --test simulation
step "documentation" env RUSTDOCFLAGS="-D warnings" $cargo doc --release --locked --no-deps --workspace --quiet
step "AsyncAPI document" npm_test tests/asyncapi
step "TypeScript client" npm_test clients/typescript
step "clients on a gateway, browser" npm_test tests/browser
step "script of a frame with 300 avatars" npm run --prefix tests/browser --silent frame
step "demo" make --no-print-directory demo FOR=20
step "demo whose gateway is killed" make --no-print-directory demo FOR=20 KILL=8
step "demo on Kafka" make --no-print-directory demo-kafka FOR=20
if [ "$all" = all ]; then
  step "simulation: 1,000 seeds" env SEEDS=1000 $cargo test --release --locked --features planted --test simulation
  step "50 kills" env KILLS=50 $cargo test --release --locked --workspace --test kill
  step "build without Kafka" $cargo clippy --release --locked -p nearcast --no-default-features -- -D warnings
fi
echo "all $steps steps passed in $SECONDS s"
