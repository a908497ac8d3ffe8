#!/usr/bin/env bash
# Tests the Buildroot tree without a Buildroot:  buildroot/test.sh [BUILDROOT]
# With one, also whether it knows every symbol that is used here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for tool in dtc fdtoverlay genimage mdir mke2fs sfdisk zstd cpio busybox depmod; do
    command -v "$tool" >/dev/null || { echo "$tool is missing here: ./x test installs it" >&2; exit 1; }
done
# shellcheck source-path=SCRIPTDIR source=board/layout
. "$here/board/layout"
# shellcheck source-path=SCRIPTDIR source=compose/packages.sh
. "$here/compose/packages.sh"
# shellcheck source-path=SCRIPTDIR source=initramfs/grow.sh
. "$here/initramfs/grow.sh"

passed=0
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
is() { # SENTENCE FOUND WANTED
    [ "$2" = "$3" ] || fail "$1: $2 instead of $3"
    passed=$((passed + 1))
}
words() { tr -s '[:space:]' '\n' | grep . | sort -u; }

small_things() {
    local config
    is 'external.desc names the tree' "$(sed -n 's/^name: //p' "$here/external.desc")" RACKBERRY
    is 'cmdline.txt is one line' "$(wc -l <"$here/board/cmdline.txt")" 1
    is "the package has the program's version" "$(sed -n 's/^RACKBERRY_VERSION = //p' "$here/package/rackberry/rackberry.mk")" \
        "$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -n 1)"
    is 'the table of users says what the overlay says' \
        "$(awk '{ print $1 ":x:" $2 ":" $4 ":" $9 ":" $6 ":" $7 }' "$here/board/users")" "$(grep '^rackberry:' "$here/rootfs-overlay/etc/passwd")"
    is 'the kernel builds the trees that the card has' \
        "$(sed -n 's/^BR2_LINUX_KERNEL_INTREE_DTS_NAME="\(.*\)"/\1/p' "$here/fragments/common" | sed 's,broadcom/,,g' | words)" \
        "$(printf '%s\n' "${TREES[@]}" | sort)"
    is 'the kernel builds the drivers of drivers.list' "$(sed -n 's/^# \([^ ]*\)$/\1/p' "$here/board/linux.fragment" | sort)" \
        "$(grep -v '^#' "$here/board/drivers.list" | words)"
    is 'busybox has every name that is used' "$(comm -13 <(grep -o '^CONFIG_[A-Z0-9_]*' "$here/board/busybox.fragment" | sort) \
        <(printf 'CONFIG_%s\n' "${EARLY_APPLETS[@]^^}" "${APPLETS[@]^^}" | sed 's/_SH$/_ASH/' | sort -u))" ''
    is "the composed card's kernel is Buildroot's" "$(sed -n 's/^BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE="\(.*\)"/\1/p' "$here/fragments/common")" \
        "$(sed -n 's/.* linux-binary-\([0-9.]*\)+.*/\1/p' "$LOCK")"
    # Paths into our own tree.
    # shellcheck disable=SC2013 # words are what is wanted
    for config in $(grep -ho 'BR2_EXTERNAL_RACKBERRY_PATH)/[^" ]*' "$here"/fragments/* | sed 's,^[^)]*)/,,'); do
        [ -e "$here/$config" ] || fail "fragments/ name $config, which is not there"
        passed=$((passed + 1))
    done
    "$here/defconfigs.sh" --check || fail 'configs/ and fragments/ differ'
    passed=$((passed + 1))
}

# Whether what is wrong is found: a copy of the tree, spoiled.
spoiled() { # SENTENCE FILE LINE COMMAND... (its last words)
    local sentence=$1 file=$2 line=$3 said code=0
    shift 3
    rm -rf "$work/copy"
    mkdir "$work/copy"
    cp -r "$here/fragments" "$here/configs" "$here/package" "$here/defconfigs.sh" "$here/check-symbols.sh" "$work/copy/"
    printf '%s\n' "$line" >>"$work/copy/$file"
    said=$("$work/copy/$1" "${@:2:1}" 2>&1) || code=$?
    [ "$code" != 0 ] || fail "$sentence was not found"
    case $said in *"$3"*) ;; *) fail "$sentence: $3 is not in: $said" ;; esac
    passed=$((passed + 1))
}

defconfigs() {
    spoiled 'a line twice' fragments/pi4 'BR2_aarch64=y' defconfigs.sh --check 'BR2_aarch64: fragments/common:2: and fragments/pi4:'
    spoiled 'a conflict' fragments/pi4 '# BR2_LINUX_KERNEL is not set' defconfigs.sh --check 'BR2_LINUX_KERNEL: fragments/common:'
    spoiled 'no line of a defconfig' fragments/pi3 'BR2_FOO=maybe' defconfigs.sh --check 'fragments/pi3:'
    spoiled 'a defconfig that was edited' configs/rackberry_pi5_defconfig 'BR2_FOO=y' defconfigs.sh --check 'run buildroot/defconfigs.sh'
}

# A Buildroot of nothing but the words it would have to know.
stub_buildroot() {
    rm -rf "$work/br"
    mkdir -p "$work/br/package/some" "$work/br/output"
    {
        echo 'menuconfig BR2_PACKAGE_UTIL_LINUX'
        grep -hoE 'BR2_[A-Za-z0-9_]+' "$here"/fragments/* | grep -vx -e BR2_PACKAGE_RACKBERRY -e BR2_PACKAGE_UTIL_LINUX -e BR2_EXTERNAL_RACKBERRY_PATH |
            sort -u | sed 's/^/config /'
    } >"$work/br/package/some/Config.in"
    echo 'source "package/some/Config.in"' >"$work/br/Config.in"
    echo 'config BR2_OF_THE_PAST' >"$work/br/Config.in.legacy"
}

symbols() {
    local said
    stub_buildroot
    said=$("$here/check-symbols.sh" "$work/br") || fail "a Buildroot that knows all is refused: $said"
    case $said in *' uses of symbols, all known '*) ;; *) fail "$said" ;; esac
    passed=$((passed + 1))
    spoiled 'an unknown symbol' fragments/pi4 'BR2_NOT_THERE=y' check-symbols.sh "$work/br" \
        "buildroot/fragments/pi4:$(($(wc -l <"$here/fragments/pi4") + 1)): BR2_NOT_THERE is unknown to"
    spoiled 'an unknown symbol that is not set' fragments/pi4 '# BR2_NOT_THERE is not set' check-symbols.sh "$work/br" 'BR2_NOT_THERE is unknown to'
    spoiled 'a symbol of the past' fragments/pi5 'BR2_OF_THE_PAST=y' check-symbols.sh "$work/br" 'BR2_OF_THE_PAST was taken out of'
    spoiled "an unknown symbol of a package's" package/rackberry/Config.in '	select BR2_NOT_THERE' check-symbols.sh "$work/br" 'package/rackberry/Config.in:'
    sed -i '/BR2_cortex_a72$/d' "$work/br/package/some/Config.in"
    # What lies in the output folder of a build does not count.
    echo 'config BR2_cortex_a72' >"$work/br/output/Config.in"
    spoiled 'a symbol that this release lacks' fragments/pi4 '#' check-symbols.sh "$work/br" 'fragments/pi4:2: BR2_cortex_a72 is unknown to'
    spoiled 'a folder that is no Buildroot' fragments/pi4 '#' check-symbols.sh "$work/copy" 'there is no Buildroot in'
}

overlay() {
    # What the overlay names in the kernel's tree, and nothing else.
    cat >"$work/pi5.dts" <<'DTS'
/dts-v1/;
/ {
	compatible = "raspberrypi,5-model-b", "brcm,bcm2712";
	aliases { };
	axi {
		rp1_gpio: pinctrl@400d0000 { };
		rp1_i2c1: i2c@40074000 { status = "disabled"; };
	};
};
DTS
    dtc -q -@ -I dts -O dtb -o "$work/pi5.dtb" "$work/pi5.dts"
    fdtoverlay -i "$work/pi5.dtb" -o "$work/laid.dtb" "$1/rackberry-i2c-pi5.dtbo" || fail "the overlay cannot be laid over a Pi 5's tree"
    is "the overlay switches the display's bus on" "$(fdtget "$work/laid.dtb" /axi/i2c@40074000 status)" okay
    is 'the bus gets its two pins' "$(fdtget "$work/laid.dtb" /axi/pinctrl@400d0000/rackberry-i2c1-state pins)" 'gpio2 gpio3'
}

# The loaders that Buildroot leaves behind for a board, by the words of rpi-firmware's recipe.
board_loaders() {
    grep -q '^BR2_PACKAGE_RPI_FIRMWARE_BOOTCODE_BIN=y' "$1" && echo bootcode.bin
    grep -q '^BR2_PACKAGE_RPI_FIRMWARE_VARIANT_PI=y' "$1" && echo start.elf fixup.dat
    grep -q '^BR2_PACKAGE_RPI_FIRMWARE_VARIANT_PI4=y' "$1" && echo start4.elf fixup4.dat
    return 0
}

# A whole card over empty files in place of what Buildroot would have built.
card() { # BOARD LOADERS
    local board=$1 loaders=$2 base=$work/$1 release=7.3.4-stub root name file files
    root=$base/target
    mkdir -p "$base/images/rpi-firmware" "$root/usr/bin" "$root/usr/lib/modules/$release" "$root/etc/init.d"
    ln -s usr/bin "$root/bin"
    cp "$(command -v busybox)" "$root/usr/bin/busybox"
    touch "$root/etc/init.d/S50dropbear"
    # All drivers built in: there is no kernel to take them from.
    # shellcheck disable=SC2013 # words are what is wanted
    for name in $(grep -v '^#' "$here/board/drivers.list"); do echo "kernel/$name.ko"; done >"$root/usr/lib/modules/$release/modules.builtin"
    touch "$root/usr/lib/modules/$release"/modules.{order,builtin.modinfo,dep,softdep}
    for name in Image.gz rootfs.squashfs "${TREES[@]/%/.dtb}"; do head -c 4096 /dev/urandom >"$base/images/$name"; done
    for name in $(board_loaders "$here/configs/rackberry_${board}_defconfig"); do head -c 512 /dev/urandom >"$base/images/rpi-firmware/$name"; done
    # As Buildroot does it: the overlay over the root, then its scripts.
    cp -r "$here/rootfs-overlay/." "$root/"
    BASE_DIR=$base "$here/board/post-build.sh" "$root"
    [ ! -e "$root/etc/init.d/S50dropbear" ] || fail 'an SSH server would start without being asked'
    is 'modules are taken from memory' "$(readlink "$root/usr/lib/modules")" /run/modules
    BASE_DIR=$base TARGET_DIR=$root SOURCE_DATE_EPOCH=1767225600 "$here/board/post-image.sh" "$base/images" >"$base/log" 2>&1 ||
        fail "no card for $board: $(tail -n 5 "$base/log")"
    DISK=$base/images/rackberry.img
    is "$board: genimage's table is the composer's" "$(sfdisk -d "$DISK" | grep -e ^label -e start= | sed "s,$DISK,card,")" \
        "$(rm -f "$base/table" && truncate -s $(((STORE_START + STORE_SIZE) * 512)) "$base/table" && table | sfdisk -q --no-reread "$base/table" &&
            sfdisk -d "$base/table" | grep -e ^label -e start= | sed "s,$base/table,card,")"
    is "$board: slot A is Buildroot's root" "$(dd if="$DISK" bs=512 skip="$A_START" count=8 2>/dev/null | sha256sum)" "$(sha256sum <"$base/images/rootfs.squashfs")"
    for name in STATE STORE; do
        start=${name}_START
        is "$board: ${name,,} is ext4" "$(dd if="$DISK" bs=1 skip=$((${!start} * 512 + 1080)) count=2 2>/dev/null | od -An -tx2)" ' ef53'
    done
    files=$(mdir -b -/ -i "$DISK@@$((BOOT_START * 512))" :: | sed 's,^::/,,')
    # Everything that config.txt names, on the boot partition. Overlays have a folder and an ending of their own.
    for file in $(sed -n -e 's/^\(kernel\|cmdline\|device_tree\)=//p' -e 's/^initramfs \([^ ]*\).*/\1/p' -e 's,^dtoverlay=\([^\,]*\).*,overlays/\1.dtbo,p' "$here/board/config.txt") $loaders; do
        grep -qxF "$file" <<<"$files" || fail "$board: $file is not on the card: $files"
        passed=$((passed + 1))
    done
    is "$board: no other board's loaders" "$(grep -cE '\.(bin|elf|dat)$' <<<"$files" || true)" "$(wc -w <<<"$loaders")"
    mcopy -n -i "$DISK@@$((BOOT_START * 512))" ::initramfs.img "$base/initramfs.img"
    is "$board: the initramfs begins with our init" "$(zstd -dc "$base/initramfs.img" | cpio --quiet -i --to-stdout init 2>/dev/null | sha256sum)" \
        "$(sha256sum <"$here/initramfs/init")"
    overlay "$base/rackberry-card/boot/overlays"
    rm -rf "$base"
}

small_things
defconfigs
symbols
card pi3 'bootcode.bin start.elf fixup.dat'
card pi4 'start4.elf fixup4.dat'
card pi5 ''
echo "buildroot: $passed checks passed"
if [ -n "${1:-}" ]; then
    "$here/check-symbols.sh" "$1"
else
    echo "buildroot: symbols against a real Buildroot: not run: no Buildroot tree"
fi
