# The processes of a demo, for the scripts beside this one to source. Their files are in
# $directory. They end with the script. The scripts also run in bash 3.2, which macOS has.
pace=${PACE:-120} # a provisioning cycle of forty minutes takes twenty seconds
directory=$PWD/.demo
pids=() names=()

stop() {
	trap - EXIT INT TERM
	[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
	wait 2>/dev/null || true
}

begin() {
	rm -rf "$directory"
	mkdir -p "$directory"
	trap stop EXIT
	trap 'stop; exit 0' INT TERM
}

# start NAME COMMAND…: its output goes to NAME.log.
start() {
	"${@:2}" >"$directory/$1.log" 2>&1 &
	pids+=($!) names+=("$1")
}

# all_alive fails, with the log, if a process has ended.
all_alive() {
	local i
	for i in "${!pids[@]}"; do
		kill -0 "${pids[i]}" 2>/dev/null && continue
		echo "${names[i]} has ended; its log ($directory/${names[i]}.log) ends with" >&2
		tail -n 20 "$directory/${names[i]}.log" >&2
		return 1
	done
}

# watch_all waits until a process has ended, and fails.
watch_all() {
	while all_alive; do sleep 1; done
	return 1
}

# await SECONDS COMMAND…: wait until the command succeeds.
await() {
	local tries=$(($1 * 5))
	shift
	until "$@" >/dev/null 2>&1; do
		all_alive || exit 1
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || { echo "timed out: $*" >&2; exit 1; }
		sleep 0.2
	done
}

# start_simulator SCENARIO, start_exporter
start_simulator() {
	start simulator bin/entra-aws-simulator --scenario="$1" --speed="$pace" --ca-file="$directory/ca.pem" --write-config="$directory/config.yaml"
	await 20 grep -q 'simulator started' "$directory/simulator.log"
	set -a
	# shellcheck source=/dev/null
	. "$directory/environment"
	set +a
}

start_exporter() {
	start exporter bin/entra-aws-exporter --config.file="$directory/config.yaml" --rotation.pace="$pace" --web.enable-lifecycle
	await 20 grep -q 'msg="Listening on"' "$directory/exporter.log"
	await 60 all_sources_read
}

# all_sources_read: the exporter has polled every source once.
all_sources_read() {
	bin/entra-aws-exporter status >"$directory/status" && ! grep -q 'not polled yet' "$directory/status"
}

simulator() { bin/entra-aws-simulator "$@" --ca-file="$directory/ca.pem"; }
exporter() { bin/entra-aws-exporter --config.file="$directory/config.yaml" "$@"; }

# new_lines NAME: the lines of the input that NAME has not had before.
new_lines() {
	touch "$directory/$1.seen"
	grep -vxFf "$directory/$1.seen" | tee "$directory/$1.new" || true
	cat "$directory/$1.new" >>"$directory/$1.seen"
}
