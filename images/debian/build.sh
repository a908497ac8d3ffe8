#!/usr/bin/env bash
# Builds a small, real Debian disk image: GPT with a BIOS boot partition, an ESP and an ext4 root as the last
# partition, so that whoever writes it to a disk can grow the root. Boots by BIOS and by UEFI (Secure Boot chain
# of the distribution). It carries no identity: machine-id, host keys and passwords come after the first boot or
# from the installer.
#
#   build.sh --out FILE.raw.{zst,gz,xz} [--suite trixie] [--mirror URL] [--kernel cloud-amd64|amd64] [--cloud-init] [--refresh]
#
# With --cloud-init the image asks a cloud-init seed who it is, as the images of clouds do.
#
# Needs root, and: mmdebstrap fdisk e2fsprogs dosfstools mtools zstd (and xz-utils for xz). No loop devices, no device nodes on the host.
set -euo pipefail

suite=trixie mirror='' out='' kernel=cloud-amd64 more='' refresh=''
usage() { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=${2:?--out needs a file}; shift 2 ;;
    --suite) suite=${2:?--suite needs a name}; shift 2 ;;
    --mirror) mirror=${2:?--mirror needs a URL}; shift 2 ;;
    --kernel) kernel=${2:?--kernel needs a flavour}; shift 2 ;;
    --cloud-init) more=,cloud-init; shift ;;
    --refresh) refresh=yes; shift ;;
    *) usage ;;
  esac
done
[ -n "$out" ] || usage
case $out in
  *.zst) packer=(zstd -q -9 -T2 -c) ;;
  *.gz) packer=(gzip -6 -c) ;;
  *.xz) packer=(xz -1 -T2 -c) ;;
  *) echo "build.sh: $out ends in none of .zst, .gz and .xz" >&2; exit 2 ;;
esac
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
[ "$(id -u)" = 0 ] || { echo "build.sh: the files of the image belong to root: run this as root" >&2; exit 1; }
for tool in mmdebstrap sfdisk mke2fs mkfs.vfat mcopy zstd "${packer[0]}"; do
  command -v "$tool" >/dev/null || { echo "build.sh: $tool is missing (apt install mmdebstrap fdisk e2fsprogs dosfstools mtools zstd xz-utils)" >&2; exit 1; }
done
if [ -z "$mirror" ]; then
  # The machine's own main archive, whatever it is called: Label tells it from the security archive.
  # shellcheck disable=SC2016  # apt's own variable
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' 2>/dev/null | head -n 1)
  [ -n "$mirror" ] || { echo "build.sh: apt on this machine names no Debian archive: run apt-get update, or give --mirror URL" >&2; exit 1; }
fi

started=$SECONDS
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rackberry
key=$(printf '%s\n' "$suite" "$mirror" "$kernel" "$more" | cat - "$(readlink -f "$0")" | sha256sum | cut -c1-16)
cached=$cache/debian-$suite-$key.raw.${out##*.}
debs=$cache/debs-$suite
mkdir -p "$cache" "$debs" "$(dirname "$out")"

deliver() { # FILE [HOW]: a copy, named and summed as asked
  cp --reflink=auto -f "$1" "$out"
  (cd "$(dirname "$out")" && sha256sum "$(basename "$out")" >"$(basename "$out").sha256")
  echo "$out: $(stat -c %s "$out") bytes, $((SECONDS - started)) s ($2)"
}
if [ -z "$refresh" ] && [ -s "$cached" ]; then deliver "$cached" cached; exit 0; fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/rackberry-debian.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

# --- the files -------------------------------------------------------------------------------------------------
# Run by mmdebstrap with the new root as $1, after all packages are configured.
cat >"$work/customize" <<'CUSTOMIZE'
#!/bin/sh
set -eu
root=$1
put() { mkdir -p "$root/$(dirname "$1")"; cat >"$root/$1"; }

# The lowest of all priorities: any file that an installer writes sorts before it.
put etc/systemd/network/90-default.network <<'END'
[Match]
Name=en* eth*

[Network]
DHCP=yes
END
put etc/fstab <<'END'
LABEL=debian-root / ext4 errors=remount-ro,x-systemd.growfs 0 1
END
put etc/hostname <<'END'
debian
END
put etc/hosts <<'END'
127.0.0.1 localhost
127.0.1.1 debian
::1 localhost ip6-localhost ip6-loopback
END
put etc/systemd/system/ssh-host-keys.service <<'END'
[Unit]
Description=Make this machine's SSH host keys
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
RequiredBy=ssh.service
END
# Both boot paths end here. The kernel's package keeps the two links current, so no grub package is needed in the
# image; the file system's UUID is asked at boot, so that an installer may change it.
put boot/grub/grub.cfg <<'END'
set timeout=1
set default=0
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
probe --set=uuid --fs-uuid "$root"
menuentry 'Debian GNU/Linux' {
  linux /vmlinuz root=UUID=$uuid ro net.ifnames=1 console=tty0 console=ttyS0,115200
  initrd /initrd.img
}
menuentry 'Debian GNU/Linux (previous kernel)' {
  linux /vmlinuz.old root=UUID=$uuid ro net.ifnames=1 console=tty0 console=ttyS0,115200
  initrd /initrd.img.old
}
END
chroot "$root" systemctl --quiet enable systemd-networkd.service systemd-resolved.service ssh-host-keys.service serial-getty@ttyS0.service
# A server waits for its network only where something says it needs it.
chroot "$root" systemctl --quiet disable systemd-networkd-wait-online.service || true
chroot "$root" passwd --quiet --lock root
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed" "$root"/var/log/*.log
# Empty, not absent: systemd fills it, and does not ask first-boot questions on the console.
: >"$root/etc/machine-id"
CUSTOMIZE

# GRUB and shim come as packages of the same suite and are unpacked outside the image.
cat >"$work/loaders" <<'LOADERS'
#!/bin/sh
set -eu
root=$1 into=$2 debs=$3
cd "$debs"
APT_CONFIG=${MMDEBSTRAP_APT_CONFIG:-${APT_CONFIG:-}} apt-get -q=2 download grub-common libdevmapper1.02.1 grub-pc-bin grub-efi-amd64-signed shim-signed
mkdir -p "$into" "$root/tmp/grub"
for name in grub-common libdevmapper1.02.1 grub-pc-bin grub-efi-amd64-signed shim-signed; do
  deb=$(ls -t "$name"_*.deb | head -n 1)
  dpkg-deb -x "$deb" "$into/$name"
done
# grub-mkimage belongs to the suite, so it runs with the suite's libraries.
cp "$into/grub-common/usr/bin/grub-mkimage" "$root/tmp/grub/"
find "$into/libdevmapper1.02.1" -name 'libdevmapper.so.*' -exec cp {} "$root/tmp/grub/" \;
cp -r "$into/grub-pc-bin/usr/lib/grub/i386-pc" "$root/tmp/grub/"
chroot "$root" env LD_LIBRARY_PATH=/tmp/grub /tmp/grub/grub-mkimage -O i386-pc -d /tmp/grub/i386-pc -o /tmp/grub/core.img -p '(,gpt3)/boot/grub' \
  biosdisk part_gpt ext2 normal linux serial terminal probe configfile echo ls cat test reboot halt minicmd
mv "$root/tmp/grub/core.img" "$root/tmp/grub/i386-pc/boot.img" "$into/"
rm -r "$root/tmp/grub"
LOADERS
chmod +x "$work/customize" "$work/loaders"

# shellcheck disable=SC2016  # $1 is for mmdebstrap's shell
mmdebstrap --mode=root --variant=minbase --quiet \
  --include="linux-image-$kernel,initramfs-tools,systemd,systemd-sysv,systemd-resolved,systemd-timesyncd,dbus,udev,openssh-server,curl,iproute2,iputils-ping,kmod,e2fsprogs,zstd,less,nano$more" \
  --aptopt='Apt::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --skip=download/empty --skip=essential/unlink \
  --setup-hook='mkdir -p "$1/var/cache/apt/archives"' --setup-hook="sync-in '$debs' /var/cache/apt/archives" \
  --customize-hook="$work/customize \"\$1\"" \
  --customize-hook="$work/loaders \"\$1\" '$work/boot' '$debs'" \
  --customize-hook="sync-out /var/cache/apt/archives '$debs'" \
  "$suite" "$root" "$mirror"
packages=$((SECONDS - started))

# --- the disk --------------------------------------------------------------------------------------------------
mib=$((1024 * 1024))
esp_mib=16
# Room to boot and log before the first growth; the installer grows partition and file system to the disk.
root_mib=$(( ($(du -sxm "$root" | cut -f1) * 115 / 100) + 64 ))
root_start=$((2 + esp_mib))
raw=$work/disk.raw
truncate -s $(((root_start + root_mib + 1) * mib)) "$raw"
sfdisk --quiet "$raw" <<END
label: gpt
sector-size: 512
start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios
start=2MiB, size=${esp_mib}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp
start=${root_start}MiB, size=${root_mib}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
END

# ext4 without the features that an older GRUB on the box's side cannot read when it looks for a system to start.
mke2fs -q -t ext4 -b 4096 -L debian-root -O ^metadata_csum_seed,^orphan_file -m 1 -d "$root" \
  -E "offset=$((root_start * mib)),root_owner=0:0" "$raw" "$((root_mib))M"

esp=$work/esp.img
truncate -s "${esp_mib}M" "$esp"
mkfs.vfat -n ESP "$esp" >/dev/null
cat >"$work/grub.cfg" <<'END'
regexp --set=1:disk '^\(([^,)]+),' "$prefix"
set root="$disk,gpt3"
set prefix=($root)/boot/grub
configfile $prefix/grub.cfg
END
mmd -i "$esp" ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -i "$esp" "$work/boot/shim-signed/usr/lib/shim/shimx64.efi.signed" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$esp" "$work/boot/grub-efi-amd64-signed/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" ::/EFI/BOOT/grubx64.efi
mcopy -i "$esp" "$work/grub.cfg" ::/EFI/debian/grub.cfg
dd if="$esp" of="$raw" bs=$mib seek=2 conv=notrunc,sparse status=none

# What grub-bios-setup would write, without the block device it insists on: the first sector's code with the place of
# the core image (byte 0x5c) and the drive check off (0x66), and the core image with the place of its own rest (its
# first sector's last 12 bytes).
le64() { local n=$1; for _ in 1 2 3 4 5 6 7 8; do printf '%b' "\\x$(printf %02x $((n & 255)))"; n=$((n >> 8)); done; }
core_sector=2048
dd if="$work/boot/boot.img" of="$raw" bs=1 count=440 conv=notrunc status=none
le64 $core_sector | dd of="$raw" bs=1 seek=$((0x5c)) conv=notrunc status=none
printf '\x90\x90' | dd of="$raw" bs=1 seek=$((0x66)) conv=notrunc status=none
le64 $((core_sector + 1)) | dd of="$work/boot/core.img" bs=1 seek=500 conv=notrunc status=none
[ "$(stat -c %s "$work/boot/core.img")" -le $mib ] || { echo "build.sh: GRUB's core image does not fit the BIOS boot partition" >&2; exit 1; }
dd if="$work/boot/core.img" of="$raw" bs=512 seek=$core_sector conv=notrunc status=none

size=$(stat -c %s "$raw")
"${packer[@]}" "$raw" >"$cached.part"
mv "$cached.part" "$cached"
find "$cache" -maxdepth 1 -name 'debian-*.raw.*' -mtime +30 -delete
deliver "$cached" "$size bytes raw, packages $packages s"
