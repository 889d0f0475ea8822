#!/bin/sh
# Saves a real folder (this project's own source), lists it, restores it and
# compares, bit for bit, through a NATS server, a coordinator and a storage node.
# Usage: docs/demo.sh PATH-OF-THE-BINARY
set -eu

backup=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
project=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
up=
finish() {
	[ -z "$up" ] || { kill "$up" 2>/dev/null && wait "$up" || :; }
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

# A home of its own: the demo touches nothing of yours.
export HOME="$work/home" XDG_CONFIG_HOME="$work/home/.config" XDG_STATE_HOME="$work/home/.local/state"
unset BACKUP_SERVER BACKUP_NICKNAME BACKUP_KEY_FILE BACKUP_CONFIG
mkdir -p "$HOME"

say() {
	if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}
run() {
	say "\$ backup $*"
	"$backup" "$@"
}

mkdir "$work/project"
(cd "$project" && tar cf - --exclude=.git --exclude=bin .) | (cd "$work/project" && tar xf -)

say "\$ backup up --data DIR &     # NATS server, coordinator and storage node"
"$backup" up --data "$work/data" --listen 127.0.0.1:0 >"$work/ready" 2>"$work/log" &
up=$!
until grep -s '^ready' "$work/ready"; do
	kill -0 "$up" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
	sleep 0.1
done

run nodes
run transmit "$work/project"
run transmit "$work/project" # nothing has changed
run list
run list project
run download project --to "$work/back"

say "\$ diff -r project back/project"
diff -r "$work/project" "$work/back/project"
echo "equal: $(find "$work/project" -type f | wc -l) files came back as they were."
