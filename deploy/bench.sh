#!/usr/bin/env bash
# The figures of the README and a page of them, in target/bench; `make build peers` comes first. `bench.sh` measures all
# and then the same on Kafka, `bench.sh peers` nearcast beside other servers, `bench.sh kafka` two gateways that meet
# there. RUNS=n takes medians of so many, ONLY=scenario runs that alone. Exit code 1: an objective was not met.
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
  deploy/kafka/kafka.sh start
  local bootstrap
  bootstrap=$(deploy/kafka/kafka.sh bootstrap)
  measure --only kafka2 --kafka "$bootstrap" --json "$out/kafka.json"
}

case ${1:-} in
  "")
    rm -f "$out/bench.json" "$out/kafka.json"
    measure "${page[@]}" ${ONLY:+--only "$ONLY"}
    # Kafka comes last, so that its broker disturbs nothing.
    if [ -z "${ONLY:-}" ]; then
      measure_kafka
      "$loadtest" page "$out/bench.json" "$out/kafka.json" "$out/bench.html"
    fi
    ;;
  peers) measure "${page[@]}" --only peers50 --only peers100 ;;
  kafka) measure_kafka ;;
  *) echo "bench: no part is called $1" >&2; exit 2 ;;
esac
exit "$met"
