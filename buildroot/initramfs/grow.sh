# shellcheck shell=sh
# The table of the card, and how its last partition grows to the card's end. Sourced, never run; DISK is the card, and the
# layout is known. Each step writes one sector, and a cut after any of them leaves a table that holds and a growth that goes on.

# The table as sfdisk reads it.
table() {
    cat <<END
label: dos
label-id: 0x$DISK_ID
unit: sectors
start=$BOOT_START, size=$BOOT_SIZE, type=c, bootable
start=$A_START, size=$SLOT_SIZE, type=83
start=$B_START, size=$SLOT_SIZE, type=83
start=$REST_START, size=$((STORE_START + STORE_SIZE - REST_START)), type=f
start=$STATE_START, size=$STATE_SIZE, type=83
start=$STORE_START, size=$STORE_SIZE, type=83
END
}

# A number of 4 bytes, the lowest first.
number_at() { # BYTE
    dd if="$DISK" bs=1 skip="$1" count=4 2>/dev/null | od -An -tu1 | {
        read -r a b c d && echo $((a + b * 256 + c * 65536 + d * 16777216))
    }
}

put_number() { # BYTE NUMBER
    # shellcheck disable=SC2059 # the escapes are made here
    printf "$(printf '\\%03o\\%03o\\%03o\\%03o' $(($2 & 255)) $(($2 >> 8 & 255)) $(($2 >> 16 & 255)) $(($2 >> 24 & 255)))" |
        dd of="$DISK" bs=1 seek="$1" conv=notrunc,fsync 2>/dev/null
}

# Makes the last partition reach to the end of a card of so many sectors; fails if it does already.
grow_table() { # SECTORS
    end=$1
    # What a DOS table can say.
    [ "$end" -le 4294967295 ] || end=4294967295
    size=$((end - STORE_START))
    # The first entry of its own sector: bytes 446 and on, its length at 12.
    [ "$(number_at $((STORE_TABLE * 512 + 446 + 12)))" -lt $size ] || return 1
    # From the outside in: the fourth entry of the first sector, the link to the last sector, and that sector.
    put_number $((446 + 3 * 16 + 12)) $((end - REST_START)) &&
        put_number $((REST_START * 512 + 446 + 16 + 12)) $((end - STORE_TABLE)) &&
        put_number $((STORE_TABLE * 512 + 446 + 12)) $size
}
