#!/bin/sh
# Measures the table of docs/performance.md: the server on one core, the load on another.
#
#   cargo build --release -p sfu -p loadtest && loadtest/measure.sh [DIR [CASE...]]
#
# Results go to DIR (default target/measure) as JSON and HTML, one pair for each case. SLUICE names another binary of the server. Exit status 1
# where a bound is missed.
set -u
cd "$(dirname "$0")/.."
dir=${1:-target/measure}
[ $# -gt 0 ] && shift
cases=$*
server=${SLUICE:-target/release/sluice}
server_core=${SERVER_CORE:-0} load_core=${LOAD_CORE:-1}
mkdir -p "$dir"
missed=0

# measure NAME OPTIONS... -- BOUNDS...: one case, with a server of its own.
measure() {
    name=$1
    shift
    case " $cases " in "  " | *" $name "*) ;; *) return ;; esac
    taskset -c "$server_core" "$server" --shards 1 --http 127.0.0.1:0 --media-port 0 --media-listen 127.0.0.1 --advertise 127.0.0.1 \
        >"$dir/$name.log" 2>&1 &
    pid=$!
    until grep -q "Ctrl-C stops" "$dir/$name.log"; do
        kill -0 $pid || exit 2
        sleep 0.1
    done
    http=$(sed -n 's|.*Open http://\([^ /]*\).*|\1|p' "$dir/$name.log")
    options=
    while [ "$1" != -- ]; do
        options="$options $1"
        shift
    done
    shift
    echo "== $name:$options"
    # shellcheck disable=SC2086 # the options are words
    taskset -c "$load_core" target/release/loadtest run --server "$http" --server-pid $pid --json "$dir/$name.json" \
        --html "$dir/$name.html" --quiet $options --assert joins_failed=0 'loss=0%' broken_frames=0 unauthentic=0 foreign=0 "$@" || missed=1
    kill $pid
    wait $pid
    echo
}

measure video-100 --subscribers 100 --video-only --no-simulcast -- 'server_cpu_per_packet<=0.5S'
measure audio-video-100 --subscribers 100 --no-simulcast -- 'server_cpu_per_packet<=0.75S' \
    'latency_p50<=0.6ms' 'latency_p99<=1.9ms' 'join_p50<=20ms' 'join_p99<=60ms'
measure layers-50 --subscribers 50 --mixed-layers -- 'server_cpu_per_packet<=0.8S'
measure mesh-10x10 --rooms 10 --participants 10 --warmup 20 -- 'server_cpu_per_packet<=1.1S'
measure audio-500 --audio-only --publishers 3 --subscribers 500 -- 'server_cpu_per_packet<=1.3S' 'server_rss_per_participant<=160KiB'
measure rooms-4x3x3 --rooms 4 --publishers 3 --subscribers 3 -- \
    'latency_p50<=60us' 'latency_p99<=250us' 'latency_p999<=2ms'
exit $missed
