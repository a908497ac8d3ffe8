# shellcheck shell=sh
# A root file system that is fetched by HTTP and lives in memory: what the initramfs of initramfs-tools and that of dracut share.
# Sourced. POSIX sh with busybox's programs, or with curl and coreutils.
#
# The kernel's arguments (docs/diskless.md says more):
#   rooturl=URL               squashfs, or a tar archive (plain, .gz, .xz)
#   rackberry.mode=copy|ro|overlay
#   rackberry.sha256=HEX      what the file has to be
#   rackberry.size=BYTES      how much it is unpacked
#   rackberry.tmpfs=80%       the bound of what is written
#   rackberry.wait=1800       seconds without a byte until the server is given up
#   rackberry.report=URL      URL/started, URL/fetched, URL/mounted or URL/failed?why=... is asked for
#   rackberry.onfail=shell|reboot
#
# The frame that sources this has defined:
#   ram_network    brings the network up
#   ram_shell WHY  gives whoever sits there a shell; when that ends, all is tried again

ram_place=/run/rackberry

ram_say() {
    { echo "rackberry: $*" >/dev/console; } 2>/dev/null || echo "rackberry: $*"
}

# The last word counts, as with the kernel's own arguments.
ram_argument() { # NAME [DEFAULT]
    ram_value=${2:-}
    # shellcheck disable=SC2013 # words are what is wanted
    for ram_word in $(cat /proc/cmdline); do
        case $ram_word in "$1"=*) ram_value=${ram_word#*=} ;; esac
    done
    printf '%s' "$ram_value"
}

ram_bytes() { # FILE
    if [ -e "$1" ]; then stat -c %s "$1"; else echo 0; fi
}

ram_free_kb() {
    while read -r ram_name ram_kb ram_unit; do
        [ "$ram_name" != MemAvailable: ] || echo "$ram_kb"
    done </proc/meminfo
    : "${ram_unit:-}"
}

# Runs what may hang, for so long at most. Functions too, so it is not timeout(1).
ram_within() { # SECONDS COMMAND...
    ram_left=$1
    shift
    "$@" &
    ram_runner=$!
    while kill -0 "$ram_runner" 2>/dev/null; do
        if [ "$ram_left" = 0 ]; then
            kill "$ram_runner" 2>/dev/null
            break
        fi
        ram_left=$((ram_left - 1))
        sleep 1
    done
    wait "$ram_runner" 2>/dev/null
}

# Nobody waits for long: the boot is worth more than word of it.
ram_report() { # STAGE [WHY]
    ram_to=$(ram_argument rackberry.report)
    [ -n "$ram_to" ] || return 0
    ram_to=$ram_to/$1
    [ -z "${2:-}" ] || ram_to="$ram_to?why=$(printf '%s' "$2" | tr -c 'A-Za-z0-9.,:_-' '+')"
    ram_within 10 ram_get "$ram_to" /dev/null >/dev/null 2>&1
    return 0
}

# Ends this attempt, with the reason in front of whoever looks.
ram_fail() { # WHY
    ram_say "the system cannot be started: $*"
    ram_report failed "$*"
    if [ "$(ram_argument rackberry.onfail shell)" = reboot ]; then
        ram_say "this machine starts again in 60 s"
        sleep 60
        reboot -f
        sleep 3600
    fi
    ram_shell "$*"
    return 1
}

# Gets a file, or the rest of one. The wget of busybox has no time-out that can be relied on: ram_fetch watches it.
ram_get() { # URL FILE
    if command -v curl >/dev/null 2>&1; then
        if [ "$2" = /dev/null ]; then curl -sS -f -o /dev/null "$1"; else curl -sS -f -C - -o "$2" "$1"; fi
    elif [ "$2" = /dev/null ] || [ ! -s "$2" ]; then
        wget -q -O "$2" "$1"
    else
        wget -q -c -O "$2" "$1"
    fi
}

ram_ask() { # URL
    if command -v curl >/dev/null 2>&1; then curl -sS -I "$1"; else wget -S --spider "$1"; fi
}

# How long it will be, by the server's word; empty if it gives none.
ram_length() { # URL
    ram_within 20 ram_ask "$1" 2>&1 | tr -d '\r' | sed -n 's/^ *[Cc]ontent-[Ll]ength: *\([0-9][0-9]*\)$/\1/p' | tail -n 1
}

# Repeats until the whole file is there, going on where it stopped. A server that is away for minutes is no failure.
ram_fetch() { # URL FILE
    ram_patience=$(ram_argument rackberry.wait 1800)
    ram_waited=0
    ram_refused=0
    while :; do
        ram_had=$(ram_bytes "$2")
        [ "$ram_had" = 0 ] || ram_say "going on at byte $ram_had"
        # The one that gives addresses may have been away as well.
        ram_network
        ram_get "$1" "$2" 2>/tmp/rackberry.get &
        ram_getter=$!
        ram_still=0
        ram_last=$ram_had
        while kill -0 "$ram_getter" 2>/dev/null; do
            sleep 1
            ram_now=$(ram_bytes "$2")
            if [ "$ram_now" = "$ram_last" ]; then ram_still=$((ram_still + 1)); else ram_still=0; fi
            ram_last=$ram_now
            # A server that went without a word would hold the connection for ever.
            if [ "$ram_still" -ge 20 ]; then
                kill "$ram_getter" 2>/dev/null
                break
            fi
        done
        if wait "$ram_getter" 2>/dev/null; then return 0; fi
        ram_said=$(tail -n 1 /tmp/rackberry.get 2>/dev/null)
        case $ram_said in
        # There is nothing behind what is there already: its digest tells whether that is all.
        *' 416'*) [ "$(ram_bytes "$2")" = 0 ] || return 0 ;;
        *"No space left"*)
            ram_why="the file does not fit the memory that it may take"
            return 1
            ;;
        *' 40'[0-9]* | *' 410'*)
            # A box that starts just now may not know all its files yet.
            ram_refused=$((ram_refused + 1))
            if [ "$ram_refused" -ge 6 ]; then
                ram_why="$1: $ram_said"
                return 1
            fi
            ;;
        esac
        if [ "$(ram_bytes "$2")" = "$ram_had" ]; then ram_waited=$((ram_waited + ram_still + 5)); else ram_waited=0; fi
        if [ "$ram_waited" -ge "$ram_patience" ]; then
            ram_why="$1: not a byte for $ram_waited s. $ram_said"
            return 1
        fi
        ram_say "the server is away (${ram_said:-no answer}): trying again"
        sleep 5
    done
}

ram_is_digest() { # FILE HEX
    ram_sum=$(sha256sum "$1")
    [ "${ram_sum%% *}" = "$2" ]
}

# Refuses what memory can't hold, before it is tried: a machine that runs out of it kills whatever it likes.
ram_room() { # BYTES WHAT
    ram_need=$(($1 * 6 / 5 / 1024))
    ram_have=$(ram_free_kb)
    [ "$ram_have" -lt "$ram_need" ] || return 0
    ram_why="too little memory for $2: with a fifth to spare that is $((ram_need / 1024)) MB, and $((ram_have / 1024)) MB are free"
    return 1
}

ram_kind() { # FILE
    if [ "$(head -c 4 "$1")" = hsqs ]; then
        echo squashfs
    elif [ "$(head -c 5 "$1" | tail -c 4)" = 7zXZ ]; then
        echo xz
    elif [ "$(head -c 2 "$1" | tr '\037\213' 'gz')" = gz ]; then
        echo gz
    else
        echo tar
    fi
}

ram_unpacked() { # FILE KIND
    case $2 in
    xz) xzcat "$1" ;;
    gz) gunzip -c "$1" ;;
    *) cat "$1" ;;
    esac
}

ram_mount_squashfs() { # FILE WHERE
    modprobe -q loop
    modprobe -q squashfs
    ram_loop=$(losetup -f) || return 1
    losetup -r "$ram_loop" "$1" && mkdir -p "$2" && mount -t squashfs -o ro "$ram_loop" "$2"
}

# Takes back what an attempt left, so that the next can begin.
ram_clean() { # ROOT
    for ram_dir in "$1" /mnt/ro /mnt/rw "$ram_place"; do
        umount "$ram_dir" 2>/dev/null
    done
    [ -z "${ram_loop:-}" ] || losetup -d "$ram_loop" 2>/dev/null
    ram_loop=
}

# The folders /mnt/ro and /mnt/rw of the system show what is below and what was written.
ram_show() { # ROOT NAME
    mkdir -p "$1/mnt/$2" && { mount --move "/mnt/$2" "$1/mnt/$2" 2>/dev/null || mount --bind "/mnt/$2" "$1/mnt/$2"; }
}

ram_place_file() {
    ram_url=$(ram_argument rooturl)
    if [ -z "$ram_url" ]; then
        ram_why="rooturl= is missing among the kernel's arguments"
        return 1
    fi
    ram_network
    ram_report started
    ram_why="no place in memory for the file"
    ram_say "fetching $ram_url ($ram_mode)"
    # Away now, it may be back later: what it would have said is checked again when the file is there.
    ram_packed=$(ram_length "$ram_url")
    ram_size=$(ram_argument rackberry.size 0)
    case $ram_size in *[!0-9]* | '') ram_size=0 ;; esac
    # Before the file: it stays in memory but for the copy, which needs both for a while.
    case $ram_mode in
    copy) ram_room $((${ram_packed:-0} + ram_size)) "the file and its copy" || return 1 ;;
    *) ram_room "${ram_packed:-0}" "the file" || return 1 ;;
    esac
    mkdir -p "$ram_place"
    mount -t tmpfs -o "size=$(($(ram_free_kb) * 9 / 10))k,mode=755" tmpfs "$ram_place" || return 1
    ram_file=$ram_place/root
    ram_wanted=$(ram_argument rackberry.sha256)
    for ram_attempt in 1 2 3; do
        ram_fetch "$ram_url" "$ram_file" || return 1
        ram_say "$(ram_bytes "$ram_file") bytes"
        if [ -z "$ram_wanted" ]; then
            ram_say "warning: nothing says what this file has to be (rackberry.sha256=)"
            return 0
        fi
        if ram_is_digest "$ram_file" "$ram_wanted"; then
            ram_report fetched
            return 0
        fi
        # A file that was replaced on the server while it was fetched in parts is two halves.
        ram_say "attempt $ram_attempt: its SHA-256 is ${ram_sum%% *} and not $ram_wanted"
        rm -f "$ram_file"
    done
    ram_why="$ram_url is another file than rackberry.sha256= names"
    return 1
}

ram_put_together() { # ROOT
    ram_why="the file $ram_url cannot be mounted or unpacked"
    ram_what=$(ram_kind "$ram_file")
    if [ "$ram_what" != squashfs ]; then
        [ "$ram_size" != 0 ] || ram_size=$(ram_unpacked "$ram_file" "$ram_what" | wc -c)
        ram_room "$ram_size" "what the archive holds" || return 1
        mount -t tmpfs -o "size=$ram_bound,mode=755" tmpfs "$1" || return 1
        ram_unpacked "$ram_file" "$ram_what" | (cd "$1" && tar -xf -) || return 1
        umount "$ram_place"
        return 0
    fi
    case $ram_mode in
    ro)
        ram_mount_squashfs "$ram_file" "$1"
        ;;
    overlay)
        modprobe -q overlay
        ram_mount_squashfs "$ram_file" /mnt/ro || return 1
        mkdir -p /mnt/rw && mount -t tmpfs -o "size=$ram_bound,mode=755" tmpfs /mnt/rw && mkdir /mnt/rw/up /mnt/rw/work || return 1
        mount -t overlay -o lowerdir=/mnt/ro,upperdir=/mnt/rw/up,workdir=/mnt/rw/work overlay "$1" || return 1
        ram_show "$1" ro && ram_show "$1" rw
        ;;
    copy)
        ram_mount_squashfs "$ram_file" /mnt/ro || return 1
        if [ "$ram_size" = 0 ]; then
            ram_size=$(du -sk /mnt/ro)
            ram_size=$((${ram_size%%[!0-9]*} * 1024))
        fi
        ram_room "$ram_size" "the copy" || return 1
        mount -t tmpfs -o "size=$ram_bound,mode=755" tmpfs "$1" && cp -a /mnt/ro/. "$1/" || return 1
        # Nothing of the file is needed any more.
        umount /mnt/ro && losetup -d "$ram_loop" 2>/dev/null
        umount "$ram_place"
        ;;
    *)
        ram_why="rackberry.mode=$ram_mode is none of copy, ro, overlay"
        return 1
        ;;
    esac
}

# Mounts the root at ROOT, however often that has to be tried.
ram_root() { # ROOT
    while :; do
        ram_mode=$(ram_argument rackberry.mode copy)
        ram_bound=$(ram_argument rackberry.tmpfs 80%)
        ram_why=
        if ram_place_file && ram_put_together "$1"; then
            ram_report mounted
            ram_say "the root is there ($ram_mode), $(($(ram_free_kb) / 1024)) MB of memory are free"
            return 0
        fi
        # What takes memory goes first: a shell in a full machine is of no use.
        ram_clean "$1"
        ram_fail "$ram_why"
    done
}
