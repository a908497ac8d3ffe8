#!/bin/sh
# Stands in for RancherOS and CoreOS Container Linux: gets an address, and fetches the cloud-config that the command line names.
PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
# Neither system's profile names a serial console.
exec </dev/null >/dev/ttyS0 2>&1
echo "stand-in: $(cat /proc/cmdline)"
tries=0
until port=$(ls -d /sys/class/net/*/device) 2>/dev/null || [ $tries -ge 100 ]; do
    cat /sys/bus/*/devices/*/modalias 2>/dev/null | sort -u | xargs -r modprobe -abq 2>/dev/null
    tries=$((tries + 1))
    sleep 0.2
done
port=${port#/sys/class/net/}
port=${port%%/*}
ip link set lo up
ip link set "$port" up
until udhcpc -n -q -i "$port" -s /etc/udhcpc.script; do sleep 1; done
url=$(sed -n "s/.*cloud-config-url=\([^ ]*\).*/\1/p; s/.*datasources=\['url:\([^']*\)'\].*/\1/p" /proc/cmdline)
echo "stand-in: fetching $url"
until wget -q -O /run/config "$url"; do sleep 1; done
cat /run/config
echo "stand-in: end"
while :; do sleep 60; done
