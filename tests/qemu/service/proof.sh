#!/bin/sh
# Runs in the machine, as root, once it is up, and tells the serial port what it saw: one line for each claim.
set -u
exec >/dev/ttyS0 2>&1

say() { printf 'PROOF %s\n' "$*"; }
check() { # CLAIM COMMAND...
    claim=$1
    shift
    if "$@"; then say "$claim: yes"; else say "$claim: NO"; fi
}
fetch() { curl -s -o /dev/null -w '%{http_code}\n' --max-time 120 http://127.0.0.1:8000/login; }
answered() { case $1 in 200 | 303) ;; *) return 1 ;; esac; }
sockets='boot boot-alias tftp dhcp proxydhcp dhcp-client'
number() { stat -L -c %i /var/lib/rackberry/inventory.db; }

# Type=notify: started means that sockets and database are open.
systemctl start rackberry.service
check 'the service is active' systemctl -q is-active rackberry.service
for name in page $sockets; do check "rackberry-$name.socket is active" systemctl -q is-active "rackberry-$name.socket"; done
systemctl start rackberry-net-up.service
check 'net-up chose its own address on the silent link' sh -c 'ip -4 -o address | grep -q "inet 192.168.77.1/24 "'
main=$(systemctl show -P MainPID rackberry.service)
check 'the daemon may read what net-up was told of' nsenter -t "$main" -m setpriv --reuid "$(stat -c %u "/proc/$main")" \
    --clear-groups test -r /run/rackberry-net-up/lease
check 'it runs as a user of its own' test "$(stat -c %u "/proc/$main")" -ge 1000
check 'no thread has a capability' sh -c "! grep -h '^Cap\(Eff\|Prm\|Amb\|Inh\)' /proc/$main/task/*/status | grep -v 0000000000000000"
say "threads: $(grep -l ^CapEff "/proc/$main/task"/*/status | wc -l)"
# A kernel is imported and looked at by the process for foreign media. The unit gives it no namespaces: its other walls stand.
for kernel in /boot/vmlinuz-*; do :; done
check 'an image is imported' rackberry image import "$kernel" --name kernel
check 'it is seen to be a kernel' sh -c 'rackberry --json image list | tr -d " " | grep -q "\"kind\":\"kernel\""'
check 'by a process that Landlock and a filter of calls keep in' sh -c '! journalctl -b -u rackberry.service -o cat | grep "looked at without.*\(Landlock\|seccomp\|limits\)"'
say "exposure: $(systemd-analyze security --no-pager rackberry.service | tail -n 1)"

before=$(number)
# With the other sockets down nothing but the page can start it. All at once: a packet that waits in one of them would start it again.
# shellcheck disable=SC2046 # words are what is wanted
systemctl stop rackberry.service $(for name in $sockets; do echo "rackberry-$name.socket"; done)
check 'it stopped in order' test "$(systemctl show -P Result rackberry.service) $(systemctl show -P ExecMainStatus rackberry.service)" = 'success 0'
check 'it is stopped' test "$(systemctl is-active rackberry.service)" = inactive
check 'the page starts it' answered "$(fetch)"
check 'and it is active again' systemctl -q is-active rackberry.service
check 'with the sockets that it wants' systemctl -q is-active rackberry-dhcp.socket rackberry-tftp.socket rackberry-boot.socket
check 'and with the same inventory' test "$before" = "$(number)"
check 'in a folder for its dynamic user' test "$(readlink /var/lib/rackberry) $(stat -c %a /var/lib/private/rackberry)" = 'private/rackberry 700'

answers=$(mktemp)
for asker in 1 2 3 4; do
    while [ -e "$answers" ]; do fetch; done >"$answers.$asker" &
done
sleep 2
for _ in 1 2 3; do systemctl restart rackberry.service; done
sleep 2
rm "$answers"
wait
say "restarts: 3, questions to the page: $(cat "$answers".? | wc -l), lost: $(cat "$answers".? | grep -vc '^\(200\|303\)$')"

systemctl stop rackberry.service 'rackberry-*.socket'
check 'stopped with its sockets it stays away' sh -c '! curl -s --max-time 5 http://127.0.0.1:8000/login'
systemctl start rackberry.service
check 'and starts again' answered "$(fetch)"
journalctl -b -u rackberry.service -u rackberry-net-up.service --no-pager -o cat | tail -n 60
say end
