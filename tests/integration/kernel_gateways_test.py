#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: torture timeout=900 engines=one asan=never
"""The Linux kernel with dm-multipath over two gateways of one RBD volume, fio --verify and a writer of
numbered blocks on it: the gateway that serves the volume is killed with -9, comes back, is given the
volume again in an orderly way, then the only OSD is killed and started. Each time a pause, no error;
the reservation holds, and in the end everything is read back."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))
sys.path.insert(0, HERE)
# pylint: disable=wrong-import-position
import ceph
import iscsi_client
import pools
import uml
from rbd_gateways_test import outcome, serves, write_cdb
from tap import Skip, run

FIRST, SECOND = "10.77.0.2", "10.77.0.3"
GUEST_LIMIT = 700
CONFLICT = 0x18

SCRIPT = r"""
target=@TARGET@ first=@FIRST@ second=@SECOND@
iscsid
for portal in $first $second; do iscsiadm -m discovery -t st -p $portal >/dev/null; done
for key in 'node.session.timeo.replacement_timeout:2' 'node.conn[0].timeo.noop_out_interval:1' 'node.conn[0].timeo.noop_out_timeout:1'; do
	iscsiadm -m node -T $target -o update -n "${key%%:*}" -v "${key#*:}" >/dev/null
done
check "login at both gateways" iscsiadm -m node -T $target --loginall=all || exit 1
path() { local s d; for i in $(seq 200); do for s in /sys/class/iscsi_session/session*; do
	[ "$(cat $s/device/connection*/iscsi_connection/connection*/persistent_address)" = "$1" ] || continue
	for d in $s/device/target*/*/block/sd*; do [ -b "/dev/${d##*/}" ] && { echo "/dev/${d##*/}"; return; }; done; done; sleep 0.1; done; return 1; }
A=$(path $first) && B=$(path $second) && yes "each gateway is a disk ($A $B)" || { no "each gateway is a disk"; exit 1; }
id() { cat "/sys/block/${1##*/}/device/wwid"; }
[ -n "$(id $A)" ] && [ "$(id $A)" = "$(id $B)" ] && yes "both are one unit ($(id $A))" || no "both are one unit"
size=$(cat /sys/block/${A##*/}/size)
[ "$size" = 131072 ] && [ "$(cat /sys/block/${B##*/}/size)" = $size ] && yes "and as large, in standby too" || no "as large, in standby too ($size, $(cat /sys/block/${B##*/}/size))"
sg_turs $A >/dev/null 2>&1; sg_turs $B >/dev/null 2>&1
is() { sg_rtpg --decode $1 > /tmp/groups; grep -qi "$2" /tmp/groups; }
becomes() { local i; for i in $(seq 200); do is $1 "$2" && return; sleep 0.1; done; cat /tmp/groups; return 1; }
is $A active/optimized && is $B standby && yes "the kernel sees one optimized, one in standby" || { no "the kernel sees one optimized, one in standby"; cat /tmp/groups; }
check "register at the first" sg_persist -n --out --register --param-sark=0xa1 $A
check "register at the second, which is standby" sg_persist -n --out --register --param-sark=0xa1 $B
check "reserve, registrants only" sg_persist -n --out --reserve --param-rk=0xa1 --prout-type=5 $A

modprobe -a dm-multipath dm-service-time
MA=$(cat /sys/block/${A##*/}/dev) MB=$(cat /sys/block/${B##*/}/dev)
echo "0 $size multipath 1 queue_if_no_path 0 2 1 service-time 0 1 1 $MA 1 service-time 0 1 1 $MB 1" | dmsetup create m || exit 1
M=/dev/mapper/m; [ -b $M ] || dmsetup mknodes
# What multipathd's checker does: a path that answers is used again.
checker() { while [ ! -e /tmp/checked ]; do sg_turs $1 >/dev/null 2>&1 && dmsetup message m 0 reinstate_path $2; sleep 0.4; done; }
checker $A $MA & checker $B $MB &
mkfifo /tmp/never; exec 9<>/tmp/never
writer() { # device, first block, stop file: numbered blocks, each answered before the next; how long each took
	local n=0 from
	while [ ! -e $3 ] && [ $n -lt 6000 ]; do
		printf "%512s" "$2-$n" > /tmp/w; from=${EPOCHREALTIME/./}
		dd if=/tmp/w of=$1 bs=512 seek=$(($2 + n)) oflag=direct status=none || { echo "write $n failed" > $3.bad; break; }
		echo $(((${EPOCHREALTIME/./} - from) / 1000)) >> $3.ms; n=$((n + 1)); read -t 0.1 -u 9
	done
	: > $3.done
}
count() { wc -l < $1.ms; }
slowest() { tail -n +$(($2 + 1)) $1.ms | sort -n | tail -n 1; } # since which
expect() { local i; for ((i = 0; i < $2; i++)); do printf "%512s" "$1-$i"; done; }
same() { dd if=$1 bs=512 skip=$2 count=$3 iflag=direct status=none > /tmp/is; expect $2 $3 | cmp - /tmp/is; }
more() { local was=$(count $1) i; for i in $(seq 600); do [ $(count $1) -gt $((was + 10)) ] && return; sleep 0.1; done; return 1; }
goes_on() { more /tmp/load && yes "$1; the writer waited $(slowest /tmp/load $2) ms" || { no "$1"; dmsetup status m; cat /tmp/load.bad; }; }
# fio in rounds: 1 MiB at random, read back and checked a few blocks behind.
verify() { LD_LIBRARY_PATH=$SHARE/fio $SHARE/fio/fio --name=v --offset=16m --size=1m --bs=4k --rw=randwrite --direct=1 --thread --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randseed=$1 --filename=$2 "${@:3}"; }
rounds() { local n=0
	while [ ! -e /tmp/fio ]; do
		verify $((n + 1)) $M --ioengine=libaio --iodepth=4 --rate_iops=50 --verify_backlog=16 > /tmp/fio.out 2>&1 || { cp /tmp/fio.out /tmp/fio.bad; break; }
		n=$((n + 1)); echo $n > /tmp/fio.n
	done; : > /tmp/fio.done; }
: > /tmp/load.ms; writer $M 4096 /tmp/load &
[ -x $SHARE/fio/fio ] && rounds &
check "a writer, and fio --verify, over both gateways" more /tmp/load

at=$(count /tmp/load)
check "the gateway in use is killed with -9" test "$(ask kill)" = killed
goes_on "I/O goes on through the other one" $at
check "whose state is active/optimized now" becomes $B active/optimized
sg_persist -n -r $B > /tmp/held; grep -qi 'Write Exclusive, registrants only' /tmp/held && yes "the reservation is held there" || { no "the reservation is held there"; cat /tmp/held; }
[ "$(sg_persist -n -k $B | grep -c 0xa1)" = 2 ] && yes "both registrations are" || { no "both registrations are"; sg_persist -n -k $B; }
check "and a stranger's write conflicts" test "$(ask "stranger 1")" = conflict
check "the killed one comes back" test "$(ask start)" = up
at=$(count /tmp/load)
check "as standby" becomes $A standby
goes_on "which disturbs nobody" $at

at=$(count /tmp/load)
check "it is given the volume again while I/O runs" test "$(ask take)" = taken
goes_on "a planned move" $at
check "the first is active/optimized" becomes $A active/optimized
check "the second is standby" becomes $B standby
check "and a stranger's write conflicts there, too" test "$(ask "stranger 0")" = conflict

at=$(count /tmp/load)
check "the only OSD is killed with -9 and comes back" test "$(ask osd)" = up
goes_on "an OSD that was away" $at

: > /tmp/load; wait_file /tmp/load.done; n=$(count /tmp/load)
[ ! -e /tmp/load.bad ] && yes "$n writes, none failed; the slowest took $(slowest /tmp/load 0) ms" || no "$n writes: $(cat /tmp/load.bad)"
check "all of them are there" same $M 4096 $n
if [ -x $SHARE/fio/fio ]; then
	: > /tmp/fio; wait_file /tmp/fio.done; n=$(cat /tmp/fio.n)
	[ ! -e /tmp/fio.bad ] && [ "$n" -gt 0 ] && yes "fio: $n rounds, none failed, all read back" || { no "fio: $n rounds"; tail -n 20 /tmp/fio.bad; }
	check "the last one is there when it is read past multipath" verify $n $A --ioengine=psync --verify_only
else
	echo "no fio here"
fi
dmesg | grep -iE 'I/O error, dev dm-|Buffer I/O error on dev dm-' && no "no error above multipath" || yes "no error above multipath"
: > /tmp/checked; sleep 0.5
dmsetup remove m
iscsiadm -m node -T $target --logoutall=all >/dev/null 2>&1
exit 0
"""


class Gateway(pools.Daemon):
    """On an address and a portal group of its own, always on the same port."""

    def __init__(self, state, address, group):
        self.address, self.bind = address, f"{address},{group}"
        super().__init__(state)

    @staticmethod
    def choose_port():
        return 3260


class Pair:
    def __init__(self, folder, cluster):
        place = ("--backend", "rbd", "--conf", cluster.conf, "--ceph-pool", "rbd", "--id",
                 "granary")
        self.cluster = cluster
        self.daemons = []
        for number, address in enumerate((FIRST, SECOND)):
            uml.ip("addr", "add", f"{address}/32", "dev", "lo")
            daemon = Gateway(os.path.join(folder, f"gateway{number}"), address, number + 1)
            self.daemons.append(daemon)
            if number == 0:
                daemon.good("pool", "create", "far", *place)
                daemon.good("volume", "create", "far/v", "64M")
            else:
                daemon.good("pool", "import", *place)
            daemon.good("target", "create", pools.IQN)
            daemon.good("target", "allow", pools.IQN, "--network", "10.77.0.0/24")
            daemon.good("lun", "map", pools.IQN, "far/v", "--lun", "0")

    def stranger(self, daemon):
        """What becomes of a write of one who has not registered, at the gateway that serves."""
        with iscsi_client.Connection(daemon.address, daemon.port, timeout=60.0) as client:
            client.login(pools.IQN, "iqn.2026-11.org.example:stranger")
            status, _, _ = outcome(client, write_cdb(64 << 10, 8), bytes(4096))
        return "conflict" if status == CONFLICT else f"status {status:02x}"

    def answer(self, words):
        first = self.daemons[0]
        if words[0] == "kill":
            first.stop(signal.SIGKILL)
            return "killed"
        if words[0] == "take":
            first.good("volume", "take", "far/v")
            return "taken" if serves(first) else "standby"
        if words[0] == "stranger":
            return self.stranger(self.daemons[int(words[1])])
        if words[0] == "osd":
            self.cluster.kill_osd()
            self.cluster.start_osd()
        else:
            first.start()
        return "up"

    def stop(self):
        for daemon in self.daemons:
            daemon.stop()


def put_fio(share):
    """fio with its libraries, for a guest of the same system; nothing where it is not installed."""
    program, folder = shutil.which("fio"), os.path.join(share, "fio")
    if not program:
        return
    os.makedirs(folder)
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True,
                               check=True).stdout
    for path in [program, *re.findall(r"=> (/\S+)", libraries)]:
        # The guest has a C library of its own, which fits its loader.
        if not re.match(r"(libc|libm|libpthread|ld-linux)[.-]", os.path.basename(path)):
            shutil.copy(path, folder)


def test(tap):
    uml.needs()
    if ceph.missing():
        raise Skip(f"no Ceph here (not installed: {ceph.missing()})")
    uml.enter()
    folder = tempfile.mkdtemp(prefix="granary-gateways-")
    pair = guests = cluster = None
    try:
        cluster = ceph.Ceph(os.path.join(folder, "ceph"))
        pair = Pair(folder, cluster)
        script = SCRIPT.replace("@TARGET@", pools.IQN).replace("@FIRST@", FIRST)
        guests = uml.Guests(os.path.join(folder, "guest"), [script.replace("@SECOND@", SECOND)],
                            prepare=put_fio)
        in_time = guests.wait(GUEST_LIMIT, pair.answer)
        uml.tell(tap, guests, 1, "kernel")
        tap.point(in_time, "through in time")
        for daemon in pair.daemons:
            tap.point(daemon.stop() == 0, "a daemon ends well", daemon.log()[-1500:])
    finally:
        if guests:
            guests.stop()
        if pair:
            pair.stop()
        if cluster:
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
