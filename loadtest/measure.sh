#!/bin/sh
# Measures the table of docs/performance.md and prints it: the server on one core, the load on another. About nine minutes.
#
#   cargo build --release --workspace && cargo bench --workspace --bench parts --no-run && loadtest/measure.sh [DIR [CASE...]]
#
# Results go to DIR (default target/measure) as JSON and HTML, one pair for each case, and as table.md. SLUICE names another binary of the server;
# SERVER_CORE and LOAD_CORE choose other cores. Both get real-time priority where that is allowed, so that other programs of the machine do not take
# turns with them; PRIORITY= does without. Exit status 1 where a bound is missed.
set -u
cd "$(dirname "$0")/.."
dir=${1:-target/measure}
[ $# -gt 0 ] && shift
cases=$*
server=${SLUICE:-target/release/sluice}
server_core=${SERVER_CORE:-0} load_core=${LOAD_CORE:-1}
priority=${PRIORITY-$(chrt -f 20 true 2>/dev/null && echo chrt -f 20)}
echo "priority: ${priority:-as usual}"
mkdir -p "$dir"
missed=0
results=

wanted() { case " $cases " in "  " | *" $1 "*) ;; *) return 1 ;; esac }

# figure NAME FILE: a figure of a result.
figure() { sed -n "s|^ *\"$1\": \([0-9.e-]*\),*\$|\1|p" "$2" | head -1; }

# measure NAME OPTIONS... -- BOUNDS...: one case, with a server of its own.
shards=1 share= loss=0%
measure() {
    name=$1
    shift
    wanted "$name" || return
    cores=$server_core load=$load_core
    [ -z "$share" ] || { cores=$server_core,$load_core load=$cores; }
    rm -f "$dir/$name.log"
    # shellcheck disable=SC2086 # the priority is words
    $priority taskset -c "$cores" "$server" --shards "$shards" --http 127.0.0.1:0 --media-port 0 --media-listen 127.0.0.1 --advertise 127.0.0.1 \
        >"$dir/$name.log" 2>&1 &
    pid=$!
    until grep -qs "Ctrl-C stops" "$dir/$name.log"; do
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
    $priority taskset -c "$load" target/release/loadtest run --server "$http" --server-pid $pid --json "$dir/$name.json" \
        --html "$dir/$name.html" --quiet $options --assert joins_failed=0 "loss<=$loss" broken_frames=0 unauthentic=0 foreign=0 "$@" || missed=1
    results="$results $dir/$name.json"
    kill $pid
    wait $pid
    echo
}

# Memory: 100 KiB, and 20 KiB for each subscription.
measure video-100 --subscribers 100 --video-only --no-simulcast -- 'server_cpu_per_packet<=0.5S' 'server_rss_per_participant<=120KiB'
measure audio-video-100 --subscribers 100 --no-simulcast -- 'server_cpu_per_packet<=0.75S' \
    'latency_p50<=0.6ms' 'latency_p99<=1.9ms' 'join_p50<=20ms' 'join_p99<=60ms' 'server_rss_per_participant<=140KiB'
measure layers-50 --subscribers 50 --mixed-layers -- 'server_cpu_per_packet<=0.8S' 'server_rss_per_participant<=140KiB'
measure mesh-10x10 --rooms 10 --participants 10 --warmup 20 -- 'server_cpu_per_packet<=1.1S' 'server_rss_per_participant<=460KiB'
measure audio-500 --audio-only --publishers 3 --subscribers 500 -- 'server_cpu_per_packet<=1.3S' 'server_rss_per_participant<=160KiB'
measure rooms-4x3x3 --rooms 4 --publishers 3 --subscribers 3 -- \
    'latency_p50<=60us' 'latency_p99<=250us' 'latency_p999<=2ms'

# A packet of 50 does not arrive. Sound is not asked for again, which is a packet of 4.5.
loss=0.6%
measure lossy-100 --subscribers 100 --no-simulcast --network-loss 0.02 -- 'latency_p50<=0.8ms'
loss=0%

# As many subscribers as bring the server to 80 % of its core, as far as the load generator can follow.
if wanted loss-80 && [ -f "$dir/audio-video-100.json" ]; then
    subscribers=$(echo "$(figure server_cpu "$dir/audio-video-100.json") $(figure own_cpu "$dir/audio-video-100.json")" |
        awk '{ most = $1 > $2 ? $1 : $2; print int(100 * 0.8 / most) }')
    # A room takes a thousand.
    rooms=$((subscribers / 900 + 1))
    measure loss-80 --rooms "$rooms" --subscribers $((subscribers / rooms)) --no-simulcast -- 'server_cpu<=90%'
fi

# The same room on two shards, which have both cores together with the load: compare the CPU per packet, and see that both are used.
share=1
measure one-shard --subscribers 100 --no-simulcast --
shards=2
measure two-shards --subscribers 100 --no-simulcast -- 'server_busiest_thread<=60%'

{
    # shellcheck disable=SC2086 # the results are words
    [ -z "$results" ] || target/release/loadtest markdown $results
    if wanted fan-out; then
        echo
        echo "Engine fan-out to 100 without sockets, per packet sent, and the same from cold caches (lower bound, estimate, upper bound):"
        taskset -c "$server_core" cargo bench --workspace --bench parts -- fan-out 2>&1 | sed -n 's|^.*time: *|    |p'
    fi
} | tee "$dir/table.md"
exit $missed
