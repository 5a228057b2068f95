#!/usr/bin/env bash
# The figures of the README and a page of them, in target/bench; `make build peers` comes first. `bench.sh` measures all,
# draws the curve of bytes against error, and measures the same on Kafka; `bench.sh peers` nearcast beside other servers,
# `bench.sh kafka` two gateways that meet there, `bench.sh plaza500` a scenario alone. RUNS=n takes medians of so many.
# Exit code 1: an objective was not met.
set -euo pipefail
cd "$(dirname "$0")/.."

loadtest=target/release/nearcast-loadtest
out=target/bench
page=(--json "$out/bench.json" --html "$out/bench.html")
met=0

# What comes next is measured also when an objective was not met.
measure() {
  local code=0
  "$loadtest" bench --gateway target/release/nearcast ${RUNS:+--runs "$RUNS"} "$@" || code=$?
  [ "$code" -le 1 ] || exit "$code"
  met=$((met | code))
}

measure_kafka() {
  deploy/setup.sh kafka
  # A broker of its own, that does not go on beside what is measured next.
  export KAFKA_DIR=$PWD/.kafka/bench KAFKA_PORT=0
  deploy/kafka/kafka.sh start
  trap 'deploy/kafka/kafka.sh stop' EXIT
  local bootstrap
  bootstrap=$(deploy/kafka/kafka.sh bootstrap)
  measure --only kafka2 --kafka "$bootstrap" --json "$out/kafka.json" "$@"
}

case ${1:-} in
  "")
    # What lacks for the end is said at the beginning.
    deploy/setup.sh kafka
    rm -f "$out"/{bench,curve,kafka}.json
    measure "${page[@]}"
    # Offline, a minute or two.
    "$loadtest" curve --json "$out/curve.json" >"$out/curve.txt"
    # Kafka comes last, so that its broker disturbs nothing.
    measure_kafka
    "$loadtest" page "$out"/{bench,curve,kafka}.json "$out/bench.html"
    ;;
  peers) measure "${page[@]}" --only peers50 --only peers100 ;;
  kafka | kafka2) measure_kafka --html "$out/kafka.html" ;;
  *) measure "${page[@]}" --only "$1" ;;
esac
exit "$met"
