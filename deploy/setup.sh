#!/usr/bin/env bash
# Checks that what nearcast needs is there, for: build, page, counts, kafka, browser, conformance, peers. As root on Debian it
# installs what is missing; elsewhere it names it. The runner of the conformance tests goes into the folder .tools.
set -euo pipefail

cd "$(dirname "$0")/.."
runner=tests/conformance/requirements.txt
missing_packages=()
needs_runner=

need_command() { # command, Debian package, what for
  command -v "$1" >/dev/null || missing "$1" "$2" "$3"
}

need_file() { # file name under /usr, Debian package, what for
  find /usr/include /usr/local/include -name "$(basename "$1")" -path "*$1" -print -quit 2>/dev/null | grep -q . || missing "$1" "$2" "$3"
}

need_node() { # what for
  need_command node nodejs "$1"
  need_command npm npm "fetches packages for what $1"
  if command -v node >/dev/null && ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; then
    echo "setup: Node.js $(node --version) is too old: 20.19 or newer $1 (https://nodejs.org)" >&2
    exit 1
  fi
}

missing() {
  echo "setup: $1 is missing ($3)"
  missing_packages+=("$2")
}

for part in "$@"; do
  case $part in
    build)
      command -v cargo >/dev/null || { echo "setup: cargo is missing: install Rust 1.95 or newer (https://rustup.rs)" >&2; exit 1; }
      need_command cc gcc "builds the Kafka client"
      need_command make make "builds the Kafka client"
      need_file zlib.h zlib1g-dev "the Kafka client's compression"
      need_file openssl/ssl.h libssl-dev "the Kafka client's TLS"
      ;;
    page) need_node "builds the page" ;;
    counts)
      need_command valgrind valgrind "counts instructions"
      ;;
    kafka)
      if [ -z "${KAFKA_BOOTSTRAP:-}" ]; then
        need_command java default-jre-headless "runs the local Kafka broker"
        need_command mvn maven "fetches the local Kafka broker"
      fi
      ;;
    browser)
      need_command chromium chromium "shows the page in tests"
      need_node "drives the browser in tests"
      ;;
    conformance)
      needs_runner=yes
      python3 -c 'import ensurepip, venv' 2>/dev/null || missing "Python 3 with venv" python3-venv "runs the WebSocket conformance tests"
      ;;
    peers) need_node "runs the servers that nearcast is compared with" ;;
    *) echo "setup: no part is called $part" >&2; exit 2 ;;
  esac
done

if [ ${#missing_packages[@]} -eq 0 ]; then
  :
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "setup: installing ${missing_packages[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing_packages[@]}" >/dev/null
else
  echo "setup: install these first (Debian's names): ${missing_packages[*]}" >&2
  exit 1
fi

if [ -n "$needs_runner" ] && ! .tools/bin/pip freeze 2>/dev/null | cmp -s - "$runner"; then
  echo "setup: installing $(cat "$runner") into .tools"
  { python3 -m venv --clear .tools && .tools/bin/pip install -q --no-deps -r "$runner"; } \
    || { echo "setup: pip could not install $(cat "$runner"), which runs the WebSocket conformance tests" >&2; exit 1; }
fi
