#!/bin/sh
# aoe: ATA over Ethernet, as one file. Behind this script stand the program and the runtime that it
# needs, compressed. They are unpacked once, into a cache directory that belongs to whoever runs
# this, and then run; `rm -rf ~/.cache/aoe` forgets them.
# Until the last line all is functions: when that one is missing, this is what is said.
trap 'echo "aoe: \"$0\" is truncated: copy or build it again" >&2; exit 1' EXIT
set -u
self=$0
script=#LENGTH
bundle=@BUNDLE_BYTES@
total=$((script + bundle + @RUNTIME_PACKED_BYTES@))
# Of each file its name, its bytes, and its checksums by cksum and, where that is missing, sha256sum.
program=aoe-@BUNDLE_ID@.js
program_bytes=@PROGRAM_BYTES@
program_sums=@PROGRAM_SUMS@
runtime=deno-@RUNTIME_ID@
runtime_bytes=@RUNTIME_BYTES@
runtime_sums=@RUNTIME_SUMS@
interpreter=@INTERPRETER@
needs="glibc @GLIBC_VERSION@ or later for @ARCHITECTURE@ and libgcc_s.so.1 are needed"
needed_mb=$(((program_bytes + runtime_bytes) / 1000000 + 1))
new=
ticker=
made_base=
made_dir=

# Ends with exit code $1, and leaves nothing half done.
stop() {
	trap '' HUP INT TERM
	[ -z "$new" ] || rm -rf "$new"
	[ -z "$ticker" ] || kill "$ticker"
	unmake
	exit "$1"
} 2>/dev/null

# Says why it cannot go on, and ends.
fail() {
	echo "aoe: $1" >&2
	stop 1
}

# Bytes of each file, one a line.
bytes_of() {
	stat -L -c %s "$@" && return
	for file in "$@"; do wc -c <"$file"; done
} 2>/dev/null

# True when file $1 is of $2 bytes, and its checksums are $3.
intact() {
	[ "$(bytes_of "$1")" = "$2" ] || return 1
	if command -v cksum >/dev/null; then
		sum=$(cksum <"$1") && [ "${sum%% *}" = "${3%:*}" ]
	elif command -v sha256sum >/dev/null; then
		sum=$(sha256sum <"$1") && [ "${sum%% *}" = "${3#*:}" ]
	fi
} 2>/dev/null

# True when $dir is ours, and both files are whole and can be run. Sizes are looked at each time,
# contents once in each boot: what was written before a power cut may be zeros after it. The boot
# stands in a script, so that asking for it shows as well that programs may be run from here.
usable() {
	[ -d "$dir" ] && [ -O "$dir" ] && [ ! -L "$dir" ] || return 1
	[ "$(bytes_of "$dir/$program" "$dir/$runtime")" = "$program_bytes
$runtime_bytes" ] || return 1
	[ -n "$boot" ] && [ "$("$dir/$program.intact" 2>/dev/null)" = "$boot" ] && return
	intact "$dir/$program" "$program_bytes" "$program_sums" &&
		intact "$dir/$runtime" "$runtime_bytes" "$runtime_sums" &&
		"$dir/$runtime" --version >/dev/null 2>&1 || return 1
	[ -z "$boot" ] || note_boot || :
}

note_boot() {
	printf '#!/bin/sh\necho %s\n' "$boot" >"$dir/.new.$$" &&
		chmod 700 "$dir/.new.$$" && mv -T "$dir/.new.$$" "$dir/$program.intact"
} 2>/dev/null

# The compressed file that is to be $1. Who writes may be told that nobody reads on.
part() {
	case $1 in
	"$program") tail -c "+$((script + 1))" "$self" | head -c "$bundle" ;;
	"$runtime") tail -c "+$((script + bundle + 1))" "$self" ;;
	esac
} 2>/dev/null

# Unpacks file $1 of mode $2, $3 bytes and checksums $4 in $new, unless $dir has it already.
unpack() {
	! intact "$dir/$1" "$3" "$4" || return 0
	if ! said=$({ part "$1" | gzip -dc >"$new/$1"; } 2>&1); then
		part "$1" | gzip -t 2>/dev/null || fail "\"$self\" is damaged: copy or build it again"
		why=${said##*: }
		why=${why:-"cannot be written to"}
		return 1
	fi
	chmod "$2" "$new/$1" && { sync "$new/$1" || sync; } 2>/dev/null
	intact "$new/$1" "$3" "$4" && return
	why="gives back other bytes than were written"
	return 1
}

# Gives file $1 its place, if it was unpacked.
put() {
	[ ! -e "$new/$1" ] || mv -T "$new/$1" "$dir/$1"
}

# Unpacks into $dir what is missing or damaged there; $why is the reason when that cannot be done.
fill() {
	said=$(mktemp -d "$dir/.new.XXXXXX" 2>&1) || { why=${said##*: } && return 1; }
	new=$said
	printf '#!/bin/sh\n' >"$new/probe" && chmod 700 "$new/probe"
	"$new/probe" 2>/dev/null || { why="mounted noexec" && return 1; }
	[ ! -t 2 ] || tick
	# One at a time; but the first of them may have been stopped, or lie on a disk that hangs.
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
		! flock -n 8 && command -v flock >/dev/null && sleep 1 || break
	done 2>/dev/null
	usable && return
	size=$(bytes_of "$self")
	[ "$size" = $total ] ||
		fail "\"$self\" is truncated or damaged: ${size:-0} of $total bytes; copy or build it again"
	free=$(df -Pk "$dir" 2>/dev/null | { read -r _ && read -r _ _ _ free _ && echo "$free"; })
	case $free in
	'' | *[!0-9]*) ;;
	*) [ "$free" -ge $((needed_mb * 1000)) ] || { why="$((free / 1000)) MB free" && return 1; } ;;
	esac
	unpack "$program" 600 "$program_bytes" "$program_sums" || return 1
	unpack "$runtime" 700 "$runtime_bytes" "$runtime_sums" || return 1
	try=$new/$runtime
	[ -e "$try" ] || try=$dir/$runtime
	if ! said=$("$try" --version 2>&1 >/dev/null); then
		said=${said#"$try: "}
		said=${said%%
*}
		fail "The runtime does not start here (${said:-it gives no reason}): $needs"
	fi
	put "$program" && put "$runtime" || { why="nothing can be renamed there" && return 1; }
	{ sync "$dir" || sync; } 2>/dev/null
	note_boot || :
}

# Says what is being done, when it takes longer than a second.
tick() {
	(
		sleep 1 </dev/null >/dev/null 2>&1 8<&-
		echo "aoe: Unpacking $needed_mb MB into \"$dir\", this once" >&2
	) 8<&- &
	ticker=$!
}

# Makes $dir, fills it, and leaves nothing there when it cannot.
prepare() {
	[ -d "$base" ] || made_base=$base
	[ -d "$dir" ] || made_dir=$dir
	if ! said=$(umask 077 && mkdir -p "$dir" 2>&1); then
		why=${said##*: }
		unmake
		return 1
	fi
	[ -O "$dir" ] && [ ! -L "$dir" ] && [ -r "$dir" ] || { why="not ours" && return 1; }
	trap 'stop 129' HUP
	trap 'stop 130' INT
	trap 'stop 143' TERM
	fill 8<"$dir"
	result=$?
	[ -z "$new" ] || rm -rf "$new"
	[ -z "$ticker" ] || { kill "$ticker" && wait "$ticker"; } 2>/dev/null
	new= ticker=
	trap - HUP INT TERM
	[ $result = 0 ] || unmake
	return $result
}

# Removes the empty directories that were made in vain.
unmake() {
	[ -z "$made_dir" ] || rmdir "$made_dir"
	[ -z "$made_base" ] || rmdir "$made_base"
	made_dir= made_base=
} 2>/dev/null

# Removes what a killed first start has left; a living one is done within the hour.
sweep() {
	for left in "$dir"/.new.*; do
		[ ! -e "$left" ] || find "$dir" -maxdepth 1 -name '.new.*' -mmin +60 -exec rm -rf {} +
		return 0
	done
} 2>/dev/null

# Becomes the program. It is named by a descriptor: it can be read again, for a thread or by a
# daemon's successor, when the cache has been removed, and by nobody else's leave.
start() {
	module=$dir/$program
	for fd in 9 8 7 6 5 4 3; do
		[ ! -e /proc/self/fd/$fd ] || continue
		eval "exec $fd<\"\$module\""
		[ ! -e /proc/self/fd/$fd ] || module=/proc/self/fd/$fd
		break
	done
	# Deno catches SIGHUP also where nohup(1) has it ignored: the program is told of it.
	while read -r field mask _; do
		case $field$mask in SigIgn:*[13579bdf]) export AOE_NOHUP=1 ;; esac
	done </proc/self/status
	# Deno opens an inspector at this signal; until the program sees to it, nothing happens.
	trap '' USR1
	DENO_DIR=$dir/state DENO_NO_UPDATE_CHECK=1 exec "$dir/$runtime" run @RUN_FLAGS@ "$module" "$@"
}

main() {
	trap - EXIT
	# Deno ends in a panic where it cannot open what it needs; up to the hard limit it helps itself.
	ulimit -Sn 64 2>/dev/null ||
		fail "Only $(ulimit -Hn) files may be open here, and 64 are needed: raise the hard limit (ulimit -Hn, or LimitNOFILE= of a unit)"
	[ -e "$interpreter" ] || fail "\"$interpreter\" is missing: $needs, musl will not do"
	boot=
	read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id
	# Deno 2.9 refuses to start when HOME is there and no directory.
	[ -d "${HOME:-}" ] || unset HOME
	tried=
	for base in "${XDG_CACHE_HOME:-}" "${HOME:+$HOME/.cache}" /var/cache /var/tmp /tmp /dev/shm; do
		case $base in
		/var/tmp | /tmp | /dev/shm) dir=$base/aoe-$(id -u) ;;
		/*) dir=$base/aoe ;;
		*) continue ;;
		esac
		why="cannot be used"
		if usable || prepare; then
			sweep
			start "$@"
		fi
		case "; $tried" in
		*[\;,]" $dir"[:,]*) ;;
		*": $why; ") tried="${tried%": $why; "}, $dir: $why; " ;;
		*) tried="$tried$dir: $why; " ;;
		esac
	done
	fail "No directory has $needed_mb MB free and lets programs run: ${tried%; }; name one in XDG_CACHE_HOME"
}

main "$@"
