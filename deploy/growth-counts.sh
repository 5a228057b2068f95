#!/usr/bin/env bash
# Instructions of a client-tick as the crowd grows, but for sockets: each crowd is played twice under callgrind, for so many
# ticks more the second time, and the difference is what those took. Prints a row for each scenario named, or for the
# usual ones. Some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

ticks=${TICKS:-20}
scenarios=("$@")
[ $# -gt 0 ] || scenarios=(grow100 grow500 grow1000 grow5000)
bench=$(${CARGO:-cargo} bench --locked --workspace --bench growth --no-run 2>&1 | sed -n 's/.*(\(target[^)]*growth-[^)]*\)).*/\1/p')
[ -x "$bench" ] || { echo "growth-counts: the bench was not built" >&2; exit 1; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# counted SCENARIO TICKS: instructions of it all; the number of clients goes to $out/clients.
counted() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null --log-file="$out/log" "$bench" "$1" "$2" >"$out/clients"
  sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$out/log"
}

printf '%-10s %8s %30s\n' scenario clients 'instructions per client-tick'
for scenario in "${scenarios[@]}"; do
  few=$(counted "$scenario" 0)
  many=$(counted "$scenario" "$ticks")
  clients=$(cat "$out/clients")
  printf '%-10s %8d %30d\n' "$scenario" "$clients" $(((many - few) / ticks / clients))
done
