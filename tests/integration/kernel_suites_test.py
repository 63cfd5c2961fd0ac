#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=400 engines=one asan=never
"""Two Linux kernels work on one share over NFSv3, v4.0, v4.1 and v4.2: what programs rely on, case
by case (tests/guest/file_cases.c), locks through two mounts; random operations on files and trees
against models (file_torture.c, tree_torture.c), the two of them on one file under locks and in one
tree, which both find alike afterwards. The same on a disk with ext4 first, to know a difference for
the share's. SUITES_SECONDS=N for each (0.6), SUITES_WAYS="VERSION,OPTIONS ...", SUITES_SEED=N."""

import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import uml                         # pylint: disable=wrong-import-position
from server import BUILD, Server   # pylint: disable=wrong-import-position
from tap import run                # pylint: disable=wrong-import-position

SECONDS = float(os.environ.get("SUITES_SECONDS", "0.6"))
SEED = int(os.environ.get("SUITES_SEED", "1"))
# Mounts of the first guest; the second has the next one of them: each meets another version.
WAYS = os.environ.get("SUITES_WAYS", "3,hard 4.0,actimeo=0 4.1,sync 4.2,hard").split()
PROGRAMS = ("file_cases", "file_torture", "tree_torture")
STEP_LIMIT = 120  # seconds of a guest for one way, beside those asked for

SCRIPT = r"""
export FORGET_ALL=1
modprobe -a nfs nfsv3 nfsv4 lockd 2>/dev/null
echo "guest$GUEST" > /proc/sys/kernel/hostname
echo "127.0.0.1 localhost guest$GUEST" > /etc/hosts
printf 'sunrpc 111/tcp portmapper\nsunrpc 111/udp portmapper\n' > /etc/services
mkdir -p /run/rpcbind /run/sendsigs.omit.d /var/lib/nfs/sm /var/lib/nfs/sm.bak; chown -R statd /var/lib/nfs/sm /var/lib/nfs/sm.bak
ulimit -n 1024 # or it closes a million files first
rpcbind && rpc.statd --no-notify || no "rpcbind, rpc.statd"
cp $SHARE/file_cases $SHARE/file_torture $SHARE/tree_torture /tmp/
ADDRESS=$(ip -4 -o addr show vec0 | awk '{ sub("/.*", "", $4); print $4 }')
up() { case $1 in
  3,*) mount -i -t nfs -o "vers=3,addr=$SERVER,proto=tcp,mountproto=tcp,timeo=100,${1#*,}" "$SERVER:/files" "$2";;
  *) mount -i -t nfs4 -o "vers=${1%%,*},addr=$SERVER,clientaddr=$ADDRESS,proto=tcp,timeo=100,${1#*,}" "$SERVER:/files" "$2";; esac; }
again() { cd /; umount -i /mnt && up "$1" /mnt; }
cases() { local text=$1 line; shift; "$@" 2>&1 | while IFS= read -r line; do case $line in "ok - "*) yes "$text: ${line#ok - }";; "not ok - "*) no "$text: ${line#not ok - }";; *) echo "$line";; esac; done; }
at() { echo "# $V: $1 after $SECONDS s"; }
told() { local text=$1; shift; "$@" > /tmp/said 2>&1 && yes "$text" || no "$text"; sed 's/^/# /' /tmp/said | tail -n 80; }
mkdir -p /root/control/cases /root/control/own /other
if [ $GUEST = 1 ]; then cases "ext4" /tmp/file_cases names /root/control/cases
else cases "ext4" /tmp/file_cases locks /root/control/cases /root/control/cases; fi
told "ext4: a file" /tmp/file_torture alone /root/control @SEED@$GUEST @CONTROL@ 300000
told "ext4: trees" /tmp/tree_torture own /root/control/own @SEED@$GUEST @CONTROL@ 1
told "ext4: the tree holds together" /tmp/tree_torture check /root/control/own
i=0
set -- @WAYS@
for way; do
  i=$((i + 1)); V="$way"
  up "$way" /mnt || { no "$V: mount"; dmesg | tail -n 4; exit 1; }
  mkdir -p /mnt/$i/own /mnt/$i/shared /mnt/$i/alone /mnt/$i/together
  mkdir -p /mnt/$i/cases.$GUEST
  [ $i = $# ] && other=$1 || other=$(shift $i; echo "$1")
  up "$other,nosharecache" /other || no "$V: mount of the other"
  # Each of the two one half: the versions of the other come in turn.
  if [ $GUEST = 1 ]; then cases "$V" /tmp/file_cases names /mnt/$i/cases.$GUEST
  else cases "$V, $other" /tmp/file_cases locks /mnt/$i/cases.$GUEST /other/$i/cases.$GUEST; fi
  umount -i /other || no "$V: umount of the other"; at "cases"
  meet a$i; at "met"
  told "$V: a file" /tmp/file_torture alone /mnt/$i/alone @SEED@$i$GUEST @SECONDS@ 300000
  told "$V: trees" /tmp/tree_torture own /mnt/$i/own @SEED@$i$GUEST @SECONDS@ 2
  at "own"; meet b$i
  told "$V: one file of two clients" /tmp/file_torture shared /mnt/$i/shared @SEED@$i$GUEST @SECONDS@ 300000
  told "$V: one tree of two clients" /tmp/tree_torture together /mnt/$i/together @SEED@$i$GUEST @SECONDS@ 2
  at "together"; meet c$i
  again "$way" || no "$V: mount again"
  told "$V: the tree holds together" /tmp/tree_torture check /mnt/$i
  cp /tmp/said $SHARE/digest.$i.$GUEST
  meet d$i
  cmp $SHARE/digest.$i.1 $SHARE/digest.$i.2 && yes "$V: and is the same for both" || no "$V: and is the same for both"
  cd /; umount -i /mnt || no "$V: umount"; at "all"
done
dmesg | grep -iE 'nfs:|RPC:|BUG|stale|lockd' | tail -n 5 | sed 's/^/# kernel: /'
exit 0
"""


def scripts():
    """Of the two guests: the second one's ways are the first one's, each one earlier."""
    turned = WAYS[1:] + WAYS[:1]
    words = {"@SEED@": SEED, "@SECONDS@": SECONDS, "@CONTROL@": min(SECONDS / 2, 3)}
    made = []
    for ways in (WAYS, turned):
        script = SCRIPT.replace("@WAYS@", " ".join(ways))
        for word, value in words.items():
            script = script.replace(word, str(value))
        made.append(script)
    return made


def share(folder):
    for name in PROGRAMS:
        shutil.copy(os.path.join(BUILD, "tests/guest", name), os.path.join(folder, name))


def test(tap):
    uml.needs()
    uml.enter()
    folder = tempfile.mkdtemp(prefix="granary-suites-")
    server = guests = None
    try:
        server = Server(os.path.join(folder, "state"), uml.SERVER, 3260, nfs_port=2049)
        server.granary("share", "allow", "tank/files", "--client", "10.77.0.0/24",
                       "--no-root-squash")
        guests = uml.Guests(os.path.join(folder, "guests"), scripts(), share)
        in_time = guests.wait(len(WAYS) * (4 * SECONDS + STEP_LIMIT))
        for number in (1, 2):
            uml.tell(tap, guests, number, f"guest {number}")
        tap.point(in_time, "both are through in time", server.log()[-3000:])
        said = server.granary("share", "check", "tank/files")
        tap.point("no errors" in said, "the share's structures are sound", said)
        tap.point(server.stop() == 0, "the daemon stops cleanly", server.log()[-3000:])
    finally:
        if guests:
            guests.stop()
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
