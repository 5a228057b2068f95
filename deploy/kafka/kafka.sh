#!/usr/bin/env bash
# One genuine Apache Kafka broker for tests and for trying nearcast out: no Docker, only Java and Maven.
# It listens on 127.0.0.1 alone, keeps nothing from start to start, and is no example of a broker in production.
#
#   kafka.sh start | stop | status | bootstrap
#
# KAFKA_PORT       the broker's port (19092); its controller takes the next one; 0 picks two free ones
# KAFKA_DIR        folder for data, log, pid and the file `bootstrap`, which holds host:port (.kafka)
# KAFKA_LIBS       folder for the jars, fetched once (.kafka/libs)
# KAFKA_WAIT_S     seconds to wait for the broker (60)
# KEEP=1           keep the data of the last start
# KAFKA_BOOTSTRAP  a broker that you already have: then `start` starts nothing
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "${KAFKA_DIR:=$root/.kafka}"
dir=$(cd "$KAFKA_DIR" && pwd)
libs=${KAFKA_LIBS:-$root/.kafka/libs}
log=$dir/broker.log
pid_file=$dir/broker.pid
properties=$dir/broker.properties

fail() {
  echo "kafka.sh: $*" >&2
  exit 1
}

need() {
  command -v "$1" >/dev/null || fail "$1 is missing: install $2, or set KAFKA_BOOTSTRAP to a broker you have"
}

# The pid, if it is still our broker: a number in a file may by now belong to another process.
running() {
  local pid
  pid=$(cat "$pid_file" 2>/dev/null) && ps -p "$pid" -o args= 2>/dev/null | grep -qF "$properties" && echo "$pid"
}

fetch_jars() {
  local wanted
  wanted=$(cksum <"$here/pom.xml")
  [ "$(cat "$libs/.complete" 2>/dev/null)" = "$wanted" ] && return
  need mvn "Maven 3.6 or newer"
  echo "fetching the broker's jars into $libs"
  rm -rf "$libs"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$libs" \
    || fail "maven could not fetch the jars"
  echo "$wanted" >"$libs/.complete"
}

taken() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

pick_port() {
  local port=${KAFKA_PORT:-19092}
  if [ "$port" != 0 ]; then
    if taken "$port" || taken $((port + 1)); then
      fail "port $port or $((port + 1)) is taken: set KAFKA_PORT to another, or to 0 for any free one"
    fi
    echo "$port"
    return
  fi
  # Below the range from which systems lend ports to outgoing connections.
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 12000))
    if ! taken "$port" && ! taken $((port + 1)); then
      echo "$port"
      return
    fi
  done
  fail "found no free port"
}

write_properties() {
  local port=$1
  cat >"$properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
EOF
}

wait_for_start() {
  local pid=$1 until=$((SECONDS + ${KAFKA_WAIT_S:-60}))
  until grep -q 'Kafka Server started' "$log"; do
    if ! kill -0 "$pid" 2>/dev/null; then
      tail -n 30 "$log" >&2
      rm -f "$pid_file"
      fail "the broker ended; above is the end of $log"
    fi
    if [ "$SECONDS" -ge "$until" ]; then
      tail -n 30 "$log" >&2
      kill "$pid"
      rm -f "$pid_file"
      fail "the broker did not start within ${KAFKA_WAIT_S:-60} s; above is the end of $log"
    fi
    sleep 0.1
  done
}

start() {
  if [ -n "${KAFKA_BOOTSTRAP:-}" ]; then
    echo "KAFKA_BOOTSTRAP is set: using the broker at $KAFKA_BOOTSTRAP, starting none"
    return
  fi
  local pid port
  if pid=$(running); then
    echo "kafka runs already at $(cat "$dir/bootstrap") (pid $pid)"
    return
  fi
  need java "a Java 17 runtime or newer"
  fetch_jars
  port=$(pick_port)
  [ "${KEEP:-}" = 1 ] || rm -rf "$dir/data"
  write_properties "$port"
  # The cluster id is any 22 characters of base64; one name for all local brokers is as good as another.
  java -cp "$libs/*" kafka.tools.StorageTool format --ignore-formatted --standalone \
    -t nearcast-local-kafka-A -c "$properties" >"$log" 2>&1 \
    || { tail -n 30 "$log" >&2; fail "could not format $dir/data"; }
  nohup java -Xms256m -Xmx512m -XX:+UseSerialGC "-Dlog4j2.configurationFile=file:$here/log4j2.properties" \
    -cp "$libs/*" kafka.Kafka "$properties" >"$log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$pid_file"
  wait_for_start "$pid"
  echo "127.0.0.1:$port" >"$dir/bootstrap"
  echo "kafka runs at 127.0.0.1:$port (pid $pid); export KAFKA_BOOTSTRAP=127.0.0.1:$port"
}

stop() {
  local pid
  if ! pid=$(running); then
    echo "no broker of $dir runs"
    return
  fi
  kill "$pid"
  # A stopped (SIGSTOP) broker hears the signal only when it goes on.
  kill -CONT "$pid" 2>/dev/null || true
  for _ in {1..150}; do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  if kill -0 "$pid" 2>/dev/null; then
    echo "the broker did not end by itself: killing it"
    kill -KILL "$pid"
  fi
  rm -f "$pid_file" "$dir/bootstrap"
  echo "kafka (pid $pid) has ended"
}

status() {
  local pid
  if pid=$(running); then
    echo "kafka runs at $(cat "$dir/bootstrap" 2>/dev/null || echo '(starting)') (pid $pid)"
  else
    echo "no broker of $dir runs"
    exit 1
  fi
}

# Where the broker is: the one that you have, or ours.
bootstrap() {
  if [ -n "${KAFKA_BOOTSTRAP:-}" ]; then
    echo "$KAFKA_BOOTSTRAP"
  else
    running >/dev/null || fail "no broker of $dir runs; make kafka starts one"
    cat "$dir/bootstrap"
  fi
}

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  status) status ;;
  bootstrap) bootstrap ;;
  *) fail "say one of: start, stop, status, bootstrap" ;;
esac
