#!/usr/bin/env bash
# Tries the program for Windows under Wine: backups, restores, a store that Linux has made, and up.
# exe.sh makes both programs; it skips, with a reason, where no Windows programs can run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! why=$("$here/run.sh" --check); then
  echo "skipped: $why"
  exit 0
fi
cd "$here/../.."
prefix=${WINEPREFIX:-${XDG_CACHE_HOME:-$HOME/.cache}/servidor-backup-wine}
work=$(mktemp -d "$prefix/drive_c/try-XXXXXX")
trap 'rm -rf "$work"' EXIT
win='C:\'${work##*/} # work, as Windows has it
CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go build -o "$work/backup.exe" ./cmd/backup
CGO_ENABLED=0 go build -o "$work/backup" ./cmd/backup

fail() { echo "FAIL: $*" >&2; exit 1; }
# exe and linux run the program with the same keys and settings.
exe() { XDG_CONFIG_HOME="$win\\config" XDG_STATE_HOME="$win\\state" timeout 300 "$here/run.sh" "$work/backup.exe" "$@"; }
linux() { XDG_CONFIG_HOME="$work/config" XDG_STATE_HOME="$work/state" timeout 300 "$work/backup" "$@"; }
# has checks that a JSON result has a value: has RESULT '"read":0'
has() { [[ $1 == *"$2"[,}]* ]] || fail "the result has no $2: $1"; }
# same compares a restored folder with src.
same() {
  diff -r "$work/src" "$1/src" || fail "$1 differs"
  [ "$(stat -c %i "$1/src/a.txt")" = "$(stat -c %i "$1/src/sub/link.txt")" ] || fail "the hard link in $1 is a file of its own"
}

deep=$work/src/$(printf '%060d/' 1 2 3 4 5 6)
mkdir -p "$deep" "$work/src/sub"
echo hello >"$work/src/a.txt"
ln "$work/src/a.txt" "$work/src/sub/link.txt"
head -c 3000000 /dev/urandom >"$work/src/big.bin"
echo deep >"$deep/file"
echo 'não' >"$work/src/sub/ação.txt"
find "$work/src" -exec touch -d '2 hours ago' {} +
sleep 2.1 # so that the change times are past for every clock

client=(--data "$win\\store" --nickname tester)
echo "== back up twice: the second reads nothing"
exe transmit "${client[@]}" --name rec -q "$win\\src"
result=$(exe transmit "${client[@]}" --name rec --json "$win\\src")
has "$result" '"read":0'
has "$result" '"unchanged":4' # a file with two names counts once
echo "== a change that keeps size and time"
cp -p "$work/src/sub/ação.txt" "$work/stamp"
echo 'NÃO' >"$work/src/sub/ação.txt"
touch -r "$work/stamp" "$work/src/sub/ação.txt"
result=$(exe transmit "${client[@]}" --name rec --json "$win\\src")
has "$result" '"read":5'
has "$result" '"unchanged":3'
echo "== list and restore"
[[ $(exe list "${client[@]}") == *rec*3* ]] || fail "list does not show three versions"
exe download "${client[@]}" -q rec --to "$win\\out"
same "$work/out"
chmod 600 "$work"/config/servidor-backup/keys/*.key # Windows has no such modes
echo "== Linux reads what Windows has saved, and adds to it"
linux download --data "$work/store" --nickname tester -q rec --to "$work/out-linux"
same "$work/out-linux"
(cd "$work/src" && ln -s a.txt symlink && touch 'a:b')
linux transmit --data "$work/store" --nickname tester --name linux -q "$work/src"
rm "$work/src/symlink" "$work/src/a:b"
echo "== Windows reads what Linux has saved: an impossible name is counted, and can be mapped"
code=0
said=$(exe download "${client[@]}" linux --to "$win\\out-exe" 2>&1) || code=$?
[[ $code = 3 && $said == *a:b* ]] || fail "exit code $code instead of 3, and a:b is not named: $said"
exe download "${client[@]}" -q linux --map-names --to "$win\\out-mapped" || true
[ -e "$work/out-mapped/src/a%3Ab" ] || fail "a:b is not mapped: $(ls "$work/out-mapped/src")"
rm -f "$work"/out-*/src/{symlink,a%3Ab}
same "$work/out-exe"
same "$work/out-mapped"
echo "== up starts, serves and ends"
start_up() {
  XDG_CONFIG_HOME="$win\\config" XDG_STATE_HOME="$win\\state" \
    "$here/run.sh" "$work/backup.exe" up --data "$win\\served" --listen 127.0.0.1:0 >"$work/up.out" 2>"$work/up.err" &
  up=$!
}
start_up
# Wine's own server, which ends some seconds after the last program, may be about to end. Then the
# program ends before it begins, without a word.
sleep 2
kill -0 $up 2>/dev/null || [ -s "$work/up.err" ] || start_up
trap 'kill -KILL $up 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in {1..120}; do
  ! grep -q '^ready' "$work/up.out" || break
  kill -0 $up 2>/dev/null || fail "up has ended: $(cat "$work/up.err")"
  sleep 1
done
server=$(sed -n 's/^ready \(nats:[^[:space:]]*\).*/\1/p' "$work/up.out")
[ -n "$server" ] || fail "up is not ready after two minutes: $(cat "$work/up.err")"
exe transmit --server "$server" --nickname tester --name served -q "$win\\src"
linux download --server "$server" --nickname tester -q served --to "$work/out-served"
same "$work/out-served"
kill -INT $up # as Ctrl-C does
for _ in {1..60}; do kill -0 $up 2>/dev/null || break; sleep 1; done
! kill -0 $up 2>/dev/null || fail "up has not ended a minute after an interrupt"
wait $up || fail "up ended with $?: $(cat "$work/up.err")"
echo "ok"
