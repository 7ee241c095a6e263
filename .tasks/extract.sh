#!/bin/sh
# aoe: ATA over Ethernet, as one file. Behind this script stand the program and the runtime that it
# needs, compressed. They are unpacked once, into a cache directory that belongs to whoever runs
# this, and then run; `rm -rf ~/.cache/aoe` forgets them.
set -u
self=$0
script=#LENGTH
bundle=@BUNDLE_BYTES@
program=aoe-@BUNDLE_ID@.js
runtime=deno-@RUNTIME_ID@

# Unpacks standard input as file $1 of mode $2, whole or not at all, however many do it at once.
unpack() {
	new=
	trap '[ -z "$new" ] || rm -rf "$new"' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	new=$(mktemp -d "$dir/.new.XXXXXX" 2>/dev/null) || return 1
	gzip -dc >"$new/file" 2>/dev/null && chmod "$2" "$new/file" && mv -T "$new/file" "$dir/$1"
	result=$?
	rm -rf "$new"
	trap - EXIT HUP INT TERM
	return $result
}

# Makes $dir ready: ours alone, with both files in it, on a file system that may be run from.
prepare() {
	(umask 077 && mkdir -p "$dir") 2>/dev/null
	[ -d "$dir" ] && [ -O "$dir" ] && [ ! -L "$dir" ] || return 1
	[ -f "$dir/$program" ] ||
		tail -c "+$((script + 1))" "$self" | head -c "$bundle" | unpack "$program" 600 || return 1
	[ -f "$dir/$runtime" ] ||
		tail -c "+$((script + bundle + 1))" "$self" | unpack "$runtime" 700 || return 1
	[ -x "$dir/$runtime" ]
}

# Deno 2.9 refuses to start when HOME is there and no directory.
[ -d "${HOME:-}" ] || unset HOME
for base in "${XDG_CACHE_HOME:-}" "${HOME:+$HOME/.cache}" /var/tmp /tmp /dev/shm; do
	case $base in
	/var/tmp | /tmp | /dev/shm) dir=$base/aoe-$(id -u) ;;
	/*) dir=$base/aoe ;;
	*) continue ;;
	esac
	prepare || continue
	DENO_DIR=$dir/state DENO_NO_UPDATE_CHECK=1 exec "$dir/$runtime" run @RUN_FLAGS@ "$dir/$program" "$@"
done
echo "aoe: No directory to unpack into: 100 MB are needed in XDG_CACHE_HOME, ~/.cache or /tmp" >&2
exit 1
