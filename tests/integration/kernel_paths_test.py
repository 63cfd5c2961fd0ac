#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=600 engines=one asan=never
"""The Linux kernel on two paths to one LUN: sg_persist over both nexuses, target port groups as
sg_rtpg sees them, dm-multipath with one path cut under load, and a daemon that is stopped, killed
and started again under load: a pause, no error, nothing lost."""

import json
import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guest"))
# pylint: disable=wrong-import-position
import uml
from server import DEMO_TARGET, Server
from tap import run

FIRST, SECOND = "10.77.0.2", "10.77.0.3"
GUEST_LIMIT = 900

SCRIPT = r"""
target=@TARGET@ first=@FIRST@ second=@SECOND@
iscsid
iscsiadm -m discovery -t st -p $first > /tmp/found
grep -q "^$first:3260,1 $target" /tmp/found && grep -q "^$second:3260,2 $target" /tmp/found && yes "SendTargets names both portal groups" || { no "SendTargets names both portal groups"; cat /tmp/found; exit 1; }
for key in 'node.session.timeo.replacement_timeout:2' 'node.conn[0].timeo.noop_out_interval:1' 'node.conn[0].timeo.noop_out_timeout:3'; do
	iscsiadm -m node -T $target -o update -n "${key%%:*}" -v "${key#*:}" >/dev/null
done
check "login on both paths" iscsiadm -m node -T $target --loginall=all || exit 1
path() { local s d; for i in $(seq 600); do for s in /sys/class/iscsi_session/session*; do
	[ "$(cat $s/device/connection*/iscsi_connection/connection*/persistent_address)" = "$1" ] || continue
	for d in $s/device/target*/*/block/sd*; do [ -b "/dev/${d##*/}" ] && { echo "/dev/${d##*/}"; return; }; done; done; sleep 0.1; done; return 1; }
A=$(path $first) && B=$(path $second) && yes "each path is a disk ($A $B)" || { no "each path is a disk"; exit 1; }
id() { cat "/sys/block/${1##*/}/device/wwid"; }
[ -n "$(id $A)" ] && [ "$(id $A)" = "$(id $B)" ] && yes "both are one unit ($(id $A))" || no "both are one unit"
sg_vpd -p di $B | grep -A3 -i 'relative target port' | grep -q 0x2 && sg_vpd -p di $B | grep -A3 -i 'target port group' | grep -q 0x2 && yes "VPD 83 names port and group 2 on the second path" || { no "VPD 83 names port and group 2"; sg_vpd -p di $B; }

# sg_persist, the whole life on two nexuses
pr() { local dev=$1; shift; sg_persist -n --out "$@" $dev; }
keys() { sg_persist -n -k $1 | grep -ioE '0x[0-9a-f]+$' | sort | tr '\n' ' '; }
held() { sg_persist -n -r $1 | grep -i 'type:' | sed 's/.*type: //'; }
check "register on the first nexus" pr $A --register --param-sark=0xa1
check "register on the second, to survive power loss" pr $B --register --param-sark=0xb2 --param-aptpl
[ "$(keys $A)" = "0xa1 0xb2 " ] && yes "READ KEYS" || no "READ KEYS ($(keys $A))"
check "reserve, write exclusive" pr $A --reserve --param-rk=0xa1 --prout-type=1
[ "$(held $B)" = "Write Exclusive" ] && yes "READ RESERVATION" || no "READ RESERVATION ($(held $B))"
dd if=/dev/zero of=$A bs=4k count=1 oflag=direct status=none && yes "the holder writes" || no "the holder writes"
dd if=/dev/zero of=$B bs=4k count=1 oflag=direct status=none 2>/dev/null && no "the other does not" || yes "the other does not"
dd if=$B of=/dev/null bs=4k count=1 iflag=direct status=none && yes "but reads" || no "but reads"
sg_persist -n -s $A > /tmp/full; [ "$(grep -c 'iSCSI name and session id: iqn' /tmp/full)" -ge 2 ] || [ "$(grep -ci 'iqn.2026-11.org.granary.test:guest1' /tmp/full)" = 2 ] && yes "READ FULL STATUS names both ports" || { no "READ FULL STATUS names both ports"; cat /tmp/full; }
sg_persist -n -c $A | grep -q 'Persist Through Power Loss Capable(PTPL_C): 1' && yes "REPORT CAPABILITIES" || { no "REPORT CAPABILITIES"; sg_persist -n -c $A; }
check "preempt and abort by the second nexus" pr $B --preempt-abort --param-rk=0xb2 --param-sark=0xa1 --prout-type=3
[ "$(keys $B)" = "0xb2 " ] && [ "$(held $B)" = "Exclusive Access" ] && yes "it holds now, alone" || no "it holds now, alone"
sg_turs $A >/dev/null 2>&1 # unit attention
dd if=$A of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null && no "the first neither reads nor writes" || yes "the first neither reads nor writes"
check "the daemon is killed and started" test "$(ask kill)" = up
for i in $(seq 60); do sleep 1; sg_turs $A >/dev/null 2>&1 && sg_turs $B >/dev/null 2>&1 && break; done
[ "$(held $B)" = "Exclusive Access" ] && yes "the reservation has survived" || no "the reservation has survived ($(held $B))"
check "register and ignore" pr $A --register-ignore --param-sark=0xa1
check "release" pr $B --release --param-rk=0xb2 --prout-type=3
check "clear" pr $A --clear --param-rk=0xa1
[ -z "$(keys $A)" ] && yes "nothing is left" || no "nothing is left ($(keys $A))"

# target port groups
state() { sg_rtpg $1 | grep -A1 "target port group id : 0x$2" | grep -oE '0x0[0-9a-f]|state : 0x[0-9a-f]+|transition|offline' | tail -n 1; }
check "REPORT TARGET PORT GROUPS" sg_rtpg --decode $A
check "the extended header" sg_rtpg --extended --decode $A
ask "group 2 non-optimized" >/dev/null
sg_turs $A >/dev/null 2>&1; sg_turs $B >/dev/null 2>&1
sg_rtpg --decode $A > /tmp/groups; grep -q 'non.optimized' /tmp/groups && yes "an implicit transition shows" || { no "an implicit transition shows"; cat /tmp/groups; }
check "SET TARGET PORT GROUPS" sg_stpg --tp=1,2 --state=an,ao $A
sg_turs $B >/dev/null 2>&1
sg_rtpg --decode $B > /tmp/groups; grep -A2 'id : 0x1' /tmp/groups | grep -q 'non.optimized' && yes "an explicit transition shows" || { no "an explicit transition shows"; cat /tmp/groups; }

# dm-multipath, the optimized group first
modprobe -a dm-multipath dm-service-time
size=$(cat /sys/block/${A##*/}/size)
major() { cat /sys/block/${1##*/}/dev; }
echo "0 $size multipath 1 queue_if_no_path 0 2 1 service-time 0 1 1 $(major $B) 1 service-time 0 1 1 $(major $A) 1" | dmsetup create m || exit 1
M=/dev/mapper/m; [ -b $M ] || dmsetup mknodes
# A writer: numbered blocks, each answered before the next; its slowest, in ms.
writer() { # device, first block, stop file
	local n=0 most=0 from to
	while [ ! -e $3 ] && [ $n -lt 2000 ]; do
		printf "%512s" "$2-$n" > /tmp/w; from=$(date +%s%N)
		dd if=/tmp/w of=$1 bs=512 seek=$(($2 + n)) oflag=direct status=none || { echo "write $n failed" > $3.bad; break; }
		to=$(date +%s%N); [ $((to - from)) -gt $most ] && most=$((to - from)); n=$((n + 1)); echo $n > $3.n
	done
	echo "$n $((most / 1000000))" > $3.done
}
read_back() { # device, first block, count: wrong ones
	local i wrong=0; for i in $(seq 0 $(($3 - 1))); do
		[ "$(dd if=$1 bs=512 skip=$(($2 + i)) count=1 iflag=direct status=none)" = "$(printf "%512s" "$2-$i")" ] || wrong=$((wrong + 1)); done; echo $wrong; }
more() { local was=$(cat $1.n); for i in $(seq 600); do [ $(cat $1.n) -gt $((was + 20)) ] && return; sleep 0.1; done; return 1; }
finish() { : > $1; wait_file $1.done; cat $1.done; }
echo 0 > /tmp/cut.n; writer $M 4096 /tmp/cut &
check "a writer on both paths" more /tmp/cut
ask "cut $second" >/dev/null
check "it goes on when the path in use is cut" more /tmp/cut
dmsetup status m | grep -q " F 1\| F " && yes "the kernel has failed the path" || { no "the kernel has failed the path"; dmsetup status m; }
ask "mend $second" >/dev/null
for i in $(seq 600); do dd if=$B of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null && break; sleep 0.1; done
check "the path comes back" dd if=$B of=/dev/null bs=4k count=1 iflag=direct status=none
dmsetup message m 0 reinstate_path $(major $B)
ask "cut $first" >/dev/null
check "and carries on alone when the other one goes" more /tmp/cut
ask "mend $first" >/dev/null
set -- $(finish /tmp/cut)
[ ! -e /tmp/cut.bad ] && [ "$(read_back $M 4096 $1)" = 0 ] && yes "$1 writes, none failed, all there; the slowest took $2 ms" || no "$1 writes: $(cat /tmp/cut.bad 2>/dev/null), $(read_back $M 4096 $1) wrong"
dmsetup remove m
iscsiadm -m node -T $target --logoutall=all >/dev/null 2>&1

# one path, and the daemon restarts
iscsiadm -m node -T $target -o update -n node.session.timeo.replacement_timeout -v 60
check "login on one path" iscsiadm -m node -T $target -p $first --login || exit 1
A=$(path $first) || exit 1
dmesg -C
echo 0 > /tmp/again.n; writer $A 8192 /tmp/again &
for how in stop kill stop; do
	check "a writer before the daemon ends ($how)" more /tmp/again
	check "the daemon is back" test "$(ask $how)" = up
done
check "the writer goes on" more /tmp/again
set -- $(finish /tmp/again)
[ ! -e /tmp/again.bad ] && [ "$(read_back $A 8192 $1)" = 0 ] && yes "$1 writes over three restarts, none failed, all there; the slowest took $2 ms" || no "$1 writes: $(cat /tmp/again.bad 2>/dev/null), $(read_back $A 8192 $1) wrong"
dmesg | grep -iE 'I/O error' && no "no I/O error in the kernel log" || yes "no I/O error in the kernel log"
check "logout" iscsiadm -m node -T $target -p $first --logout
exit 0
"""


class Paths:
    """The daemon on two addresses, each a portal group."""

    def __init__(self, folder):
        for address in (FIRST, SECOND):
            uml.ip("addr", "add", f"{address}/32", "dev", "lo")
        self.state = os.path.join(folder, "state")
        self.server = None
        self.slowest = 0.0
        self.start()
        self.server.granary("target", "allow", DEMO_TARGET, "--network", "10.77.0.0/24")

    def start(self):
        self.server = Server(self.state, FIRST + ",1", 3260, more=("--bind", SECOND + ",2"))

    def restart(self, gently):
        """Stops or kills the daemon and starts it at once."""
        from_here = time.monotonic()
        if gently:
            self.server.stop()
        else:
            self.server.process.kill()
            self.server.process.wait()
        self.start()
        self.slowest = max(self.slowest, time.monotonic() - from_here)
        return "up"

    def answer(self, words):
        if words[0] in ("stop", "kill"):
            return self.restart(words[0] == "stop")
        if words[0] == "group":
            self.server.granary("target", "group", DEMO_TARGET, words[1], "--access", words[2])
        elif words[0] == "cut":
            uml.ip("addr", "del", f"{words[1]}/32", "dev", "lo")
        elif words[0] == "mend":
            uml.ip("addr", "add", f"{words[1]}/32", "dev", "lo")
        return "done"


def test(tap):
    uml.needs()
    uml.enter()
    folder = tempfile.mkdtemp(prefix="granary-paths-")
    side = guests = None
    try:
        side = Paths(folder)
        script = SCRIPT.replace("@TARGET@", DEMO_TARGET).replace("@FIRST@", FIRST)
        script = script.replace("@SECOND@", SECOND)
        guests = uml.Guests(os.path.join(folder, "guest"), [script])
        in_time = guests.wait(GUEST_LIMIT, side.answer)
        uml.tell(tap, guests, 1, "kernel")
        tap.point(in_time, "through in time")
        tap.note(f"stop or kill to READY: {side.slowest * 1000:.0f} ms at most")
        shown = json.loads(side.server.granary("target", "groups", DEMO_TARGET, "-o", "json"))
        tap.point([entry["group"] for entry in shown] == [1, 2] and
                  shown[1]["access"] == "non-optimized",
                  "what the administrator set outlives the daemon", json.dumps(shown))
    finally:
        if guests:
            guests.stop()
        if side:
            side.server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
