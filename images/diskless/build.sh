#!/bin/sh
# Builds a small Debian that runs from memory: kernel, initramfs with our scripts, and the root as one file.
#
#   build.sh --out FOLDER [--suite trixie] [--mirror URL] [--kernel amd64|cloud-amd64|arm64...] [--include PACKAGE,PACKAGE]
#            [--keys FILE] [--files FOLDER] [--hostname NAME] [--form squashfs|tar.xz] [--initramfs initramfs-tools|dracut]
#            [--refresh]
#   build.sh --out FOLDER --family rpm --repo URL --release VERSION [--keys FILE] [--files FOLDER] [--form ...]
#
# FOLDER/vmlinuz initrd root.squashfs (or root.tar.xz), with their sums in SHA256SUMS, and in `arguments` what the kernel is told.
# --keys:  the SSH keys that root lets in. Without any nobody can log in but by what --files brings.
# --files: a folder whose files are put over the root: configuration, host keys, services.
#
# Debian needs root, and: mmdebstrap squashfs-tools (xz-utils for tar.xz). Packages are fetched and verified by apt.
# The rpm family needs root, dnf and squashfs-tools; its initramfs is dracut's. dnf verifies by the keys that it knows.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
family=debian suite=trixie mirror='' out='' kernel='' include='' keys='' files='' name=diskless form=squashfs initramfs=initramfs-tools
refresh='' repo='' release=''
die() {
    echo "ramroot: $*" >&2
    exit 1
}
usage() {
    sed -n '2,/^set -/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --refresh)
        refresh=yes
        shift
        continue
        ;;
    --out | --suite | --mirror | --kernel | --include | --keys | --files | --hostname | --form | --initramfs | --family | --repo | --release) ;;
    *) usage ;;
    esac
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
    --out) out=$2 ;;
    --suite) suite=$2 ;;
    --mirror) mirror=$2 ;;
    --kernel) kernel=$2 ;;
    --include) include=,$2 ;;
    --keys) keys=$2 ;;
    --files) files=$2 ;;
    --hostname) name=$2 ;;
    --form) form=$2 ;;
    --initramfs) initramfs=$2 ;;
    --family) family=$2 ;;
    --repo) repo=$2 ;;
    --release) release=$2 ;;
    esac
    shift 2
done
[ -n "$out" ] || usage
case $form in squashfs | tar.xz) ;; *) die "--form is squashfs or tar.xz, not $form" ;; esac
case $initramfs in initramfs-tools | dracut) ;; *) die "--initramfs is initramfs-tools or dracut, not $initramfs" ;; esac
[ -z "$keys" ] || [ -s "$keys" ] || die "--keys: there is no $keys, or nothing in it"
[ -z "$files" ] || [ -d "$files" ] || die "--files: $files is no folder"
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C

# Which tools this takes, and what brings them, so that one sentence names all that are missing.
lacking=''
tool() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || lacking="$lacking $2"
}
case $family in
debian)
    tool mmdebstrap mmdebstrap
    tool apt-get apt
    advice="this needs a Debian machine with these packages"
    ;;
rpm)
    tool dnf dnf
    advice="this needs a machine of the RHEL family or Fedora, or one with these packages"
    if [ -z "$repo" ] || [ -z "$release" ]; then die "--family rpm needs --repo URL and --release VERSION"; fi
    initramfs=dracut
    ;;
*) die "--family is debian or rpm, not $family" ;;
esac
if [ "$form" = squashfs ]; then tool mksquashfs squashfs-tools; else tool xz xz-utils; fi
tool sha256sum coreutils
[ -z "$lacking" ] || die "missing:$lacking; $advice. Take the files that it makes to the box by: rackberry image import FILE"
[ "$(id -u)" = 0 ] || die "the files of a root belong to root: run this as root"

if [ "$family" = debian ]; then
    if [ -z "$mirror" ]; then
        # The machine's own main archive, whatever it is called: Label tells it from the security archive.
        # shellcheck disable=SC2016 # apt's own variable
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' 2>/dev/null | head -n 1)
        [ -n "$mirror" ] || die "apt on this machine names no Debian archive: run apt-get update, or give --mirror URL"
    fi
    [ -n "$kernel" ] || kernel=$(dpkg --print-architecture)
fi

# What was built from the same scripts, settings and files is there already.
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/rackberry
key=$({
    printf '%s\n' "$family" "$suite" "$mirror" "$kernel" "$include" "$name" "$form" "$initramfs" "$repo" "$release"
    [ -z "$keys" ] || cat "$keys"
    [ -z "$files" ] || (cd "$files" && find . -exec stat -c "%N %f %u %g" {} + | sort && find . -type f -print0 | sort -z | xargs -0r sha256sum)
    (cd "$here" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
} | sha256sum | cut -c1-16)
kept=$cache/ramroot-$key
debs=$cache/debs-$suite
deliver() { # HOW
    mkdir -p "$out"
    cp -f "$kept"/* "$out/"
    touch "$kept"
    find "$cache" -maxdepth 1 -name 'ramroot-*' -mtime +30 -exec rm -rf {} +
    echo "$out: $(cd "$out" && stat -c '%n %s bytes' vmlinuz initrd "root.$form" | tr '\n' ' ' | sed 's/ $//'), $(($(date +%s) - began)) s ($1)"
}
began=$(date +%s)
mkdir -p "$cache" "$debs"
if [ -z "$refresh" ] && [ -s "$kept/arguments" ]; then
    deliver cached
    exit 0
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/rackberry-ramroot.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM HUP
root=$work/root
made=$work/made
mkdir "$made"

# --- what every such root has ------------------------------------------------------------------------------------

# Run with the new root as $1 and the settings in the environment, when its packages are there.
cat >"$work/customize" <<'CUSTOMIZE'
#!/bin/sh
set -eu
root=$1
put() { mkdir -p "$root/$(dirname "$1")"; cat >"$root/$1"; }

# Nothing is mounted by a table: the initramfs did it all.
: >"$root/etc/fstab"
# Where the overlay's two halves are shown; a root that can't be written has to have them already.
mkdir -p "$root/mnt/ro" "$root/mnt/rw"
echo "$NAME" >"$root/etc/hostname"
put etc/hosts <<END
127.0.0.1 localhost
127.0.1.1 $NAME
::1 localhost ip6-localhost ip6-loopback
END
put etc/systemd/network/90-default.network <<'END'
[Match]
Name=en* eth*

[Network]
DHCP=yes
# The address by which the root was fetched stays while this asks for it again.
KeepConfiguration=yes
END
# A root that can't be written keeps its host keys in memory: new ones at each start, unless the root brings its own.
put etc/ssh/sshd_config.d/10-diskless.conf <<'END'
HostKey /run/ssh-host-keys/ssh_host_ed25519_key
PasswordAuthentication no
END
put etc/systemd/system/ssh-host-keys.service <<'END'
[Unit]
Description=Host keys of this start, or those that the root brought
Before=ssh.service sshd.service ssh.socket sshd.socket

[Service]
Type=oneshot
RuntimeDirectory=ssh-host-keys
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
ExecStart=/bin/sh -c 'if [ -e /etc/ssh/ssh_host_ed25519_key ]; then cp -p /etc/ssh/ssh_host_ed25519_key* /run/ssh-host-keys/; else ssh-keygen -q -t ed25519 -N "" -f /run/ssh-host-keys/ssh_host_ed25519_key; fi'

[Install]
WantedBy=multi-user.target
RequiredBy=ssh.service sshd.service
END
for unit in systemd-networkd systemd-resolved ssh-host-keys; do
    chroot "$root" systemctl --quiet enable "$unit.service" 2>/dev/null || true
done
chroot "$root" systemctl --quiet disable systemd-networkd-wait-online.service 2>/dev/null || true
chroot "$root" passwd --lock root >/dev/null
[ ! -d "$root/run/systemd" ] && [ "$FAMILY" = rpm ] || ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
if [ -n "$KEYS" ]; then
    mkdir -p "$root/root/.ssh"
    chmod 700 "$root/root/.ssh"
    cp "$KEYS" "$root/root/.ssh/authorized_keys"
    chmod 600 "$root/root/.ssh/authorized_keys"
fi
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
# Empty, not absent: systemd fills it in memory, and does not ask first-boot questions on the console.
: >"$root/etc/machine-id"
[ -z "$FILES" ] || cp -a "$FILES/." "$root/"

# --- the initramfs
if [ "$INITRAMFS" = dracut ]; then
    module=$root/usr/lib/dracut/modules.d/95rackberry
    mkdir -p "$module"
    cp "$HERE"/dracut/* "$HERE/ram.sh" "$module/"
    chmod 755 "$module"/*.sh
    for version in "$root"/lib/modules/*; do version=${version##*/}; done
    chroot "$root" dracut --quiet --force --no-hostonly --add rackberry --omit 'plymouth lvm mdraid multipath dm crypt' /boot/initrd.rackberry "$version"
else
    mkdir -p "$root/etc/initramfs-tools/scripts" "$root/etc/initramfs-tools/hooks" "$root/etc/initramfs-tools/conf.d"
    mkdir -p "$root/usr/share/initramfs-tools/conf-hooks.d"
    cp "$HERE/initramfs-tools/scripts/ram" "$root/etc/initramfs-tools/scripts/ram"
    cp "$HERE/ram.sh" "$root/etc/initramfs-tools/scripts/rackberry-ram"
    cp "$HERE/initramfs-tools/hooks/rackberry" "$root/etc/initramfs-tools/hooks/"
    chmod 755 "$root/etc/initramfs-tools/hooks/rackberry"
    cp "$HERE/initramfs-tools/conf-hooks.d/rackberry" "$root/usr/share/initramfs-tools/conf-hooks.d/"
    # No disk is needed to start: network drivers and what carries them.
    echo 'MODULES=netboot' >"$root/etc/initramfs-tools/conf.d/rackberry"
    for version in "$root"/lib/modules/*; do version=${version##*/}; done
    chroot "$root" mkinitramfs -o /boot/initrd.rackberry "$version"
fi
CUSTOMIZE
chmod +x "$work/customize"
NAME=$name KEYS=${keys:+$(readlink -f "$keys")} FILES=${files:+$(readlink -f "$files")} INITRAMFS=$initramfs HERE=$here FAMILY=$family
export NAME KEYS FILES INITRAMFS HERE FAMILY

# --- the packages ------------------------------------------------------------------------------------------------

if [ "$family" = debian ]; then
    # dracut in place of initramfs-tools: the kernel's package takes either.
    case $initramfs in
    dracut) builder=dracut,dracut-network,curl,xz-utils ;;
    *) builder="initramfs-tools,busybox,zstd" ;;
    esac
    # The kernel's package need not make an initramfs of its own.
    # shellcheck disable=SC2016 # $1 is for mmdebstrap's shell
    INITRD=No mmdebstrap --mode=root --variant=minbase --quiet \
        --include="linux-image-$kernel,$builder,systemd,systemd-sysv,systemd-resolved,dbus,udev,openssh-server,iproute2,iputils-ping,kmod,procps,less$include" \
        --aptopt='Apt::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --skip=download/empty --skip=essential/unlink \
        --setup-hook='mkdir -p "$1/var/cache/apt/archives"' --setup-hook="sync-in '$debs' /var/cache/apt/archives" \
        --customize-hook="$work/customize \"\$1\"" \
        --customize-hook="sync-out /var/cache/apt/archives '$debs'" \
        "$suite" "$root" "$mirror" >&2
else
    dnf --quiet --assumeyes --installroot "$root" --releasever "$release" --repofrompath "ramroot,$repo" --repo ramroot \
        --setopt install_weak_deps=False --setopt tsflags=nodocs \
        install systemd dnf kernel dracut dracut-network curl xz tar util-linux openssh-server iproute iputils procps-ng passwd ${include:+$(echo "${include#,}" | tr , ' ')} >&2 ||
        die "dnf could not install from $repo"
    "$work/customize" "$root" >&2
fi

# --- the three files ---------------------------------------------------------------------------------------------

for found in "$root"/boot/vmlinuz-* "$root"/lib/modules/*/vmlinuz; do
    [ ! -e "$found" ] || cp "$found" "$made/vmlinuz"
done
[ -s "$made/vmlinuz" ] || die "the root has no kernel"
mv "$root/boot/initrd.rackberry" "$made/initrd"
# The root is never booted by its own kernel file, and the initramfs is there once.
rm -rf "${root:?}"/boot/* "$root"/lib/modules/*/vmlinuz "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/cache/dnf "$root"/tmp/* "$root"/var/log/*.log
rm -f "$root"/vmlinuz* "$root"/initrd.img*
chmod 644 "$made"/*
size=$(du -sk --apparent-size "$root" | cut -f1)
blocks=$(du -sk "$root" | cut -f1)
# What a tmpfs takes: whole pages.
[ "$size" -ge "$blocks" ] || size=$blocks
if [ "$form" = squashfs ]; then
    # zstd: a tenth of xz's time on each read, for a fifth more to fetch.
    mksquashfs "$root" "$made/root.squashfs" -quiet -no-progress -noappend -comp zstd -Xcompression-level 15 >&2
else
    tar -C "$root" --numeric-owner --one-file-system -cf - . | xz -6 -T2 >"$made/root.tar.xz"
fi
(cd "$made" && sha256sum vmlinuz initrd "root.$form" >SHA256SUMS)
sum=$(sed -n "s/^\([0-9a-f]*\)  root\..*/\1/p" "$made/SHA256SUMS")
case $initramfs in dracut) more=' rd.neednet=1' ;; *) more= ;; esac
echo "boot=ram rooturl=URL ip=dhcp$more rackberry.mode=copy rackberry.sha256=$sum rackberry.size=$((size * 1024))" >"$made/arguments"
rm -rf "$kept"
mv "$made" "$kept.part"
mv "$kept.part" "$kept"
deliver built
