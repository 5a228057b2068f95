#!/usr/bin/env bash
# Where the gateway's CPU goes under the main load: records it with perf, and writes a flame graph (profile.svg), a table
# of shares by layer (layers.txt) and the swarm's figures to target/profile. The gateway is the one that `make build`
# made: stacks are unwound by its DWARF tables, so that nothing is built otherwise. SCENARIO=plaza500 SECONDS_LONG=20
# FREQUENCY=999; SCENARIO is one of `bench`, played to one gateway. SERVER=floor records what the floor does with it instead.
set -euo pipefail
cd "$(dirname "$0")/.."

scenario=${SCENARIO:-plaza500}
seconds=${SECONDS_LONG:-20}
frequency=${FREQUENCY:-999}
server=${SERVER:-nearcast}
out=target/profile
# `nearcast`, or `nearcast-floor`.
gateway=target/release/nearcast${SERVER:+-$SERVER}
swarm=target/release/nearcast-loadtest

fail() {
  echo "profile: $*" >&2
  exit 1
}

for program in "$gateway" "$swarm" target/release/examples/flames; do
  [ -x "$program" ] || fail "$program is missing: make profile builds it"
done
command -v taskset >/dev/null || fail "taskset is missing (Debian: util-linux)"
command -v perf >/dev/null || fail "perf is missing (Debian: linux-perf)"
[ "$(nproc)" -ge 2 ] || fail "this needs two cores: one for the gateway, one for the swarm"
perf record -q -e cpu-clock -o /dev/null -- true 2>/dev/null ||
  fail "perf may not record: as root, sysctl kernel.perf_event_paranoid=1 kernel.kptr_restrict=0"

mkdir -p "$out"
# What is waited for below must not be found in the words of an earlier profile.
truncate -s 0 "$out/gateway.out" "$out/swarm.txt"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait' EXIT

# Only where it is needed: the plaza is then not there.
case $scenario in
  football | rocketleague) settings=(--config loadtest/arena.toml) ;;
  *) settings=() ;;
esac
taskset -c 0 "$gateway" serve "${settings[@]}" --listen 127.0.0.1:0 --admin 127.0.0.1:0 \
  >"$out/gateway.out" 2>"$out/gateway.log" &
pids+=($!)
for _ in $(seq 100); do
  grep -q ^ready "$out/gateway.out" && break
  sleep 0.1
done
listen=$(grep -oP '^ready listen=\K\S+' "$out/gateway.out") || fail "the gateway did not get ready: $out/gateway.log"

# The window must outlast the recording.
taskset -c 1 "$swarm" run --scenario "$scenario" --server "$server" --seconds "$((seconds + 4))" --url "$listen" >"$out/swarm.txt" 2>&1 &
pids+=($!)
until grep -q '^measuring ' "$out/swarm.txt"; do
  kill -0 "${pids[1]}" 2>/dev/null || fail "$scenario cannot be played to this gateway: $(cat "$out/swarm.txt")"
  sleep 0.2
done
title=$(sed -n 's/^measuring //p' "$out/swarm.txt")
echo "recording ${pids[0]} for $seconds s of $title"
perf record -q -e cpu-clock -F "$frequency" --call-graph dwarf,8192 -p "${pids[0]}" -o "$out/perf.data" -- sleep "$seconds"
# Its exit code says whether the objectives were met, which recording disturbs.
wait "${pids[1]}" || true
grep -q 'verdict' "$out/swarm.txt" || fail "the swarm gave no figures: $out/swarm.txt"

perf script -i "$out/perf.data" --no-inline -F comm,tid,time,event,ip,sym,dso 2>"$out/script.log" |
  target/release/examples/flames "$out/profile.svg" "$title" | tee "$out/layers.txt"
bots=$(grep -oP '[0-9,]+(?= bots)' <<<"$title" | head -1 | tr -d ,)
awk -v client_ticks="$((bots * 20 * seconds))" -v hz="$frequency" \
  '/^samples/ { printf "%.1f µs a client-tick\n", $2 / hz * 1e6 / client_ticks }' "$out/layers.txt"
echo "$out/profile.svg"
