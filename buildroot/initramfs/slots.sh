# shellcheck shell=sh
# The state block: which slot is started. Two copies, each one sector of 512 bytes at BLOCK_1 and BLOCK_2 of the layout:
#
#   rackberry-slots 1 seq=7 good=a try=b left=3 crc=89abcdef<newline>, then zeros
#
# seq   counts up with each change, from 1; the valid copy with the higher one counts
# good  the slot that is known to work: a or b
# try   a slot that has to prove itself: a or b; none: -
# left  how many more times `try` is started; 0 beside a name: it had its chances and failed
# crc   CRC-32 (as in zlib) of everything before " crc=", as 8 hex digits
#
# A change writes the copy that does not count, and syncs it, so that a cut leaves one of the two. Without a valid copy, as on a
# fresh card, slot a is good. Who installs an update into a slot writes try= and left=; who finds it healthy writes good= and try=-.
# Sourced, never run; DISK is the card, and the layout is known.

SLOTS_MAGIC='rackberry-slots 1'

slots_crc() { printf '%s' "$1" | crc32 | { read -r sum _ && echo "$sum"; }; }

# Prints "SEQ GOOD TRY LEFT" of a copy, or fails.
slots_copy() { # SECTOR
    line=$(dd if="$DISK" bs=512 skip="$1" count=1 2>/dev/null | tr -d '\000' | head -n 1)
    case $line in
    "$SLOTS_MAGIC seq="*" good="[ab]" try="[ab-]" left="[0-9]" crc="????????) ;;
    *) return 1 ;;
    esac
    body=${line% crc=*}
    [ "$(slots_crc "$body")" = "${line##* crc=}" ] || return 1
    seq=${body#*seq=}
    seq=${seq%% *}
    case $seq in '' | *[!0-9]* | 0* | ??????????*) return 1 ;; esac
    rest=${body#* good=}
    rest_try=${rest#* try=}
    echo "$seq ${rest%% *} ${rest_try%% *} ${rest##*left=}"
}

# Sets SEQ GOOD TRY LEFT, and SPARE: the sector for the next change.
slots_read() {
    SEQ=0 GOOD=a TRY=- LEFT=0 SPARE=$BLOCK_1
    for sector in "$BLOCK_1" "$BLOCK_2"; do
        copy=$(slots_copy "$sector") || continue
        [ "${copy%% *}" -gt "$SEQ" ] || continue
        read -r SEQ GOOD TRY LEFT <<COPY
$copy
COPY
        [ "$sector" = "$BLOCK_1" ] && SPARE=$BLOCK_2 || SPARE=$BLOCK_1
    done
}

# Writes SEQ + 1 with GOOD TRY LEFT, and reads it again; fails if it does not stand there.
slots_write() {
    SEQ=$((SEQ + 1))
    body="$SLOTS_MAGIC seq=$SEQ good=$GOOD try=$TRY left=$LEFT"
    printf '%s crc=%s\n' "$body" "$(slots_crc "$body")" |
        dd of="$DISK" bs=512 seek="$SPARE" count=1 conv=sync,notrunc,fsync 2>/dev/null || return 1
    [ "$(slots_copy "$SPARE")" = "$SEQ $GOOD $TRY $LEFT" ] || return 1
    [ "$SPARE" = "$BLOCK_1" ] && SPARE=$BLOCK_2 || SPARE=$BLOCK_1
}

# Sets FIRST and SECOND, the slots in the order in which they are mounted, and TRYING; uses one try up.
# shellcheck disable=SC2034 # for the init
slots_choose() {
    slots_read
    TRYING=''
    FIRST=$GOOD
    if [ "$TRY" != - ] && [ "$TRY" != "$GOOD" ] && [ "$LEFT" -gt 0 ]; then
        LEFT=$((LEFT - 1))
        # A card that cannot be written would try for ever.
        if slots_write; then
            FIRST=$TRY
            TRYING=yes
        fi
    fi
    [ "$FIRST" = a ] && SECOND=b || SECOND=a
}

# The slot that was tried cannot even be mounted: no more of it.
slots_give_up() {
    slots_read
    LEFT=0
    slots_write
}
