#!/usr/bin/env bash
# Checks that what nearcast needs is there, for: build, kafka, browser, peers. As root on Debian it installs what is
# missing; elsewhere it names it.
set -euo pipefail

missing_packages=()

need_command() { # command, Debian package, what for
  command -v "$1" >/dev/null || missing "$1" "$2" "$3"
}

need_file() { # file name under /usr, Debian package, what for
  find /usr/include /usr/local/include -name "$(basename "$1")" -path "*$1" 2>/dev/null | grep -q . || missing "$1" "$2" "$3"
}

need_node() { # what for
  need_command node nodejs "$1"
  need_command npm npm "fetches packages for what $1"
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
    peers) need_node "runs the servers that nearcast is compared with" ;;
    *) echo "setup: no part is called $part" >&2; exit 2 ;;
  esac
done

[ ${#missing_packages[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "setup: installing ${missing_packages[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing_packages[@]}" >/dev/null
else
  echo "setup: install these first (Debian's names): ${missing_packages[*]}" >&2
  exit 1
fi
