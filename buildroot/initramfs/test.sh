#!/bin/sh
# Tests slots.sh and grow.sh on files in place of cards, with busybox as on the card:  buildroot/initramfs/test.sh
set -eu
# shellcheck disable=SC2031 # the card is another one only in state()
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v busybox >/dev/null || { echo "busybox is missing here: install busybox-static" >&2; exit 1; }
# Debian 12's busybox has no crc32.
mkdir "$work/bin"
for applet in dd tr head; do ln -s "$(command -v busybox)" "$work/bin/$applet"; done
cat >"$work/bin/crc32" <<'END'
#!/bin/sh
# gzip ends with the CRC and the length of what it packed.
set -- $(gzip -1 -c | tail -c 8 | od -An -tx4)
echo "$1"
END
chmod +x "$work/bin/crc32"
PATH=$work/bin:$PATH
# shellcheck source-path=SCRIPTDIR source=../board/layout
. "$here/../board/layout"
# shellcheck source-path=SCRIPTDIR source=slots.sh
. "$here/slots.sh"
# shellcheck source-path=SCRIPTDIR source=grow.sh
. "$here/grow.sh"
DISK=$work/card

passed=0
is() { # SENTENCE FOUND WANTED
    if [ "$2" != "$3" ]; then
        echo "FAILED: $1: $2 instead of $3" >&2
        exit 1
    fi
    passed=$((passed + 1))
}
fresh() { rm -f "$DISK" && truncate -s 4M "$DISK"; }
noise() { dd if=/dev/urandom of="$DISK" bs=512 count=1 seek="$1" conv=notrunc 2>/dev/null; }
state() { # [CARD]
    # shellcheck disable=SC2030 # another card for this one look
    DISK=${1:-$DISK}
    slots_read
    echo "$SEQ $GOOD $TRY $LEFT"
}
chosen() {
    slots_choose
    echo "$FIRST $SECOND ${TRYING:-no}"
}
offer() { # SLOT TRIES
    slots_read
    TRY=$1 LEFT=$2
    slots_write
}

fresh
is 'a fresh card starts a, then b' "$(chosen)" 'a b no'
is 'looking changes nothing' "$(state)" '0 a - 0'
noise "$BLOCK_1" && noise "$BLOCK_2"
is 'noise counts as nothing' "$(chosen)" 'a b no'

fresh
offer b 2
is 'a slot on trial is started first' "$(chosen)" 'b a yes'
is 'and a try is used up' "$(state)" '2 a b 1'
is 'the last try' "$(chosen)" 'b a yes'
is 'after the last try the good one is started' "$(chosen)" 'a b no'
is 'and it stays known what failed' "$(state)" '3 a b 0'
slots_read
GOOD=b TRY=- LEFT=0
slots_write
is 'what proved itself is started from then on' "$(chosen)" 'b a no'

fresh
offer b 3
slots_give_up
is 'a slot that was given up is not tried again' "$(chosen)" 'a b no'

# A cut while a copy is written leaves anything in it, and the other copy as it was.
for written in 1 2 3 4; do
    fresh
    offer b 9
    turn=1
    while [ $turn -lt $written ]; do
        chosen >/dev/null
        turn=$((turn + 1))
    done
    before=$(state)
    slots_read
    noise "$SPARE"
    is "a torn copy after $written writes" "$(state)" "$before"
    # Cut after some bytes of the new text.
    slots_read
    was=$SPARE
    LEFT=$((LEFT - 1))
    slots_write
    for length in 1 17 40 55; do
        dd if="$DISK" bs=512 skip="$was" count=1 of="$work/new" 2>/dev/null
        cp "$DISK" "$work/torn"
        dd if=/dev/zero bs=1 seek=$((was * 512 + length)) count=$((512 - length)) of="$work/torn" conv=notrunc 2>/dev/null
        is "a copy that ends after $length bytes" "$(state "$work/torn")" "$before"
    done
done

# Any single changed bit of the copy that counts leaves the older one.
fresh
offer b 5
chosen >/dev/null
slots_read
[ "$SPARE" = "$BLOCK_1" ] && counts=$BLOCK_2 || counts=$BLOCK_1
at=0
while [ $at -lt 57 ]; do
    cp "$DISK" "$work/flipped"
    byte=$(od -An -tu1 -j $((counts * 512 + at)) -N 1 "$DISK" | tr -d ' ')
    # shellcheck disable=SC2059 # the escape is made here
    printf "\\$(printf %o $((byte ^ 1)))" | dd of="$work/flipped" bs=1 seek=$((counts * 512 + at)) conv=notrunc 2>/dev/null
    is "a changed bit in byte $at" "$(state "$work/flipped")" '1 a b 5'
    at=$((at + 1))
done

if command -v sfdisk >/dev/null; then
    for size in 800 1024 30000 3000000; do
        rm -f "$DISK"
        truncate -s "${size}M" "$DISK"
        table | sfdisk -q "$DISK"
        sectors=$((size * 2048))
        is "a card of $size MiB grows" "$(grow_table $sectors && echo grown)" grown
        is "to its end ($size MiB)" "$(sfdisk -d "$DISK" | sed -n 's/.*start= *\([0-9]*\), size= *\([0-9]*\),.*/\1+\2/p' | tail -n 1)" \
            "$STORE_START+$((sectors - STORE_START < 4294967295 - STORE_START ? sectors - STORE_START : 4294967295 - STORE_START))"
        sfdisk -q --verify "$DISK" >"$work/verify" 2>&1 || { cat "$work/verify" >&2; exit 1; }
        is "and only once ($size MiB)" "$(grow_table $sectors && echo grown || echo whole)" whole
    done
fi
# Who guards the program: what it does second by second.
sed 's!^\. /usr/lib.*!!; s!^PATH=.*!!' "$here/../rootfs-overlay/usr/lib/rackberry/guard" >"$work/guard"
set -- functions
# shellcheck source=/dev/null
. "$work/guard"
# shellcheck disable=SC2034 # for judge
anew() { ended=0 times=0 first=0; }
run() { # FROM TO: the other deeds than to feed, each with its second; `word` says when the last word came
    said=''
    up=$1
    while [ "$up" -le "$2" ]; do
        # shellcheck disable=SC2034 # for judge
        beat=$(word "$up")
        judge
        # shellcheck disable=SC2154 # of judge
        [ "$deed" = feed ] || said="$said $up:$deed"
        up=$((up + 1))
    done
    echo "${said:-nothing}"
}
# shellcheck disable=SC2034 # for judge
until=120
word() { echo "$1"; }
is 'a well program is left alone' "$(run 0 500)" nothing
word() { echo -120; }
is 'one that never speaks has until its start is over' "$(run 1 120)" ' 120:starve'
# shellcheck disable=SC2034 # for judge
until=''
word() { if [ "$1" -lt 100 ]; then echo "$1"; else echo 99; fi; }
anew
is 'one that falls silent is ended at once, and the box a minute later' "$(run 0 175)" ' 115:end 175:starve'
word() { if [ "$1" -lt 100 ] || [ "$1" -gt 125 ]; then echo "$1"; else echo 99; fi; }
anew
is 'one that comes back is left alone' "$(run 0 500)" ' 115:end'
word() { echo $(($1 - $1 % 16)); }
anew
is 'a slow one that speaks is left alone' "$(run 0 500)" nothing
word() { echo $(($1 - $1 % 30)); }
anew
is 'one that falls silent again and again is ended four times' "$(run 0 140)" ' 16:end 46:end 76:end 106:end 136:starve'

echo "slots, table and guard: $passed checks passed"
