#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=900 engines=one
"""Two Linux kernels lock the same files of a share: over NFSv3 (NLM, with a statd of their own and
none here), v4.0, v4.1, v4.2, and one against the other; fcntl ranges, flock, waiting. The server is
killed while both hold locks, and what they had is theirs afterwards."""

import os
import shutil
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import uml                  # pylint: disable=wrong-import-position
from server import Server   # pylint: disable=wrong-import-position
from tap import run         # pylint: disable=wrong-import-position

GUEST_LIMIT = 900
LEASE = 15

# A lock server in each guest: commands over a pipe, one file descriptor held open.
LOCKER = r"""
cat > /tmp/locker.pl <<'PERL'
use Fcntl qw(:DEFAULT :flock);
$| = 1;
my ($file) = @ARGV;
sysopen(my $f, $file, O_RDWR | O_CREAT) or die "$file: $!";
sub ask { my ($op, $type, $start, $length) = @_;
  my $lock = pack("ssx4qqix4", $type, 0, $start, $length, 0);
  my $done = fcntl($f, $op, $lock);
  return ($done, unpack("ssx4qqi", $lock)); }
my %types = (r => 0, w => 1, u => 2);
while (my $line = <STDIN>) {
  my ($verb, $type, $start, $length) = split ' ', $line;
  if ($verb eq "set") { my ($ok) = ask(6, $types{$type}, $start, $length); print $ok ? "yes\n" : "no\n"; }
  elsif ($verb eq "wait") { local $SIG{ALRM} = sub { }; alarm 150; my ($ok) = ask(7, $types{$type}, $start, $length); alarm 0; print $ok ? "yes\n" : "no $!\n"; }
  elsif ($verb eq "get") { my ($ok, $t, $w, $s, $l) = ask(5, 1, $start, $length); print "$t $s $l\n"; }
  elsif ($verb eq "flock") { print flock($f, ($type eq "w" ? LOCK_EX : $type eq "r" ? LOCK_SH : LOCK_UN) | LOCK_NB) ? "yes\n" : "no\n"; }
  elsif ($verb eq "write") { sysseek($f, $start, 0); print syswrite($f, $length) ? "yes\n" : "no $!\n"; }
}
PERL
open_locker() { coproc L { perl /tmp/locker.pl "$1"; }; }
close_locker() { eval "exec ${L[1]}>&-"; wait $L_PID 2>/dev/null; }
say() { echo "$*" >&"${L[1]}"; local answer; read -r -t 180 answer <&"${L[0]}"; echo "$answer"; }
is() { local text=$1 wanted=$2; shift 2; local got; got=$(say "$@"); [ "$got" = "$wanted" ] && yes "$V: $text" || no "$V: $text: $got, not $wanted"; }
modprobe -a nfs nfsv3 nfsv4 lockd 2>/dev/null
echo "guest$GUEST" > /proc/sys/kernel/hostname # what a client of v4 calls itself
echo "127.0.0.1 localhost guest$GUEST" > /etc/hosts
printf 'sunrpc 111/tcp portmapper\nsunrpc 111/udp portmapper\n' > /etc/services
mkdir -p /run/rpcbind /run/sendsigs.omit.d /var/lib/nfs/sm /var/lib/nfs/sm.bak; chown -R statd /var/lib/nfs/sm /var/lib/nfs/sm.bak
ulimit -n 1024 # or it closes a million files first
rpcbind && rpc.statd --no-notify || no "rpcbind, rpc.statd"
ADDRESS=$(ip -4 -o addr show vec0 | awk '{ sub("/.*", "", $4); print $4 }')
# What a file was delegated for is what it is read for: the other's write calls it back.
returns() { awk -v at="/mnt/$1" '$1 == "device" { here = $5 == at } here && $1 == "DELEGRETURN:" { print $2 }' /proc/self/mountstats; }
up() { V=v$1; mkdir -p "/mnt/$1"; case $1 in
  3) mount -i -t nfs -o "vers=3,addr=$SERVER,proto=tcp,mountproto=tcp,hard,timeo=20" "$SERVER:/files" "/mnt/$1";;
  *) mount -i -t nfs4 -o "vers=$1,addr=$SERVER,clientaddr=$ADDRESS,proto=tcp,hard,timeo=20" "$SERVER:/files" "/mnt/$1";; esac; }
"""

# One holds, one is refused, waits, gets it; then the other way round with flock.
FIRST = LOCKER + r"""
for v in 3 4.0 4.1 4.2; do
  up $v && yes "v$v: mount" || { no "v$v: mount"; dmesg | tail -n 4; exit 1; }
  rm -f "/mnt/$v/lock.$v"; open_locker "/mnt/$v/lock.$v"
  is "write lock of 0..99" yes set w 0 100
  is "its middle becomes a read lock" yes set r 40 20
  meet a$v
  meet b$v
  sleep 0.5; is "unlock of a part" yes set u 0 10
  meet c$v
  is "unlock of all" yes set u 0 0
  meet d$v
  meet dd$v
  is "flock, exclusive" yes flock w
  meet e$v
  meet ee$v
  is "flock, unlocked" yes flock u
  meet f$v
  meet ff$v
  is "taken by the other" no set w 1000 1
  meet g$v
  close_locker
  echo one > "/mnt/$v/kept.$v"
  [ "$(cat "/mnt/$v/kept.$v")" = one ] && [ "$(cat "/mnt/$v/kept.$v")" = one ] && yes "$V: read twice" || no "$V: read twice"
  before=$(returns $v)
  meet h$v
  meet hh$v
  [ "$(cat "/mnt/$v/kept.$v")" = two ] && yes "$V: what the other wrote is seen at once" || no "$V: what the other wrote is seen at once"
  [ $v = 3 ] || { [ "$(returns $v)" -gt "$before" ] && yes "$V: a delegation was called back" || no "$V: a delegation was called back ($before)"; }
done
V=restart
open_locker /mnt/4.2/held; is "v4.2 lock before" yes set w 0 100
L42=("${L[@]}"); L42_PID=$L_PID
coproc L { perl /tmp/locker.pl /mnt/3/held; } 2>/dev/null; is "v3 lock before" yes set w 200 100
meet held
echo > "$SHARE/.k"; mv "$SHARE/.k" "$SHARE/kill-now"; wait_file "$SHARE/killed"
is "v3: writes on after the restart" yes write x 210 hello
L3=("${L[@]}"); L=("${L42[@]}")
is "v4.2: writes on after the restart" yes write x 10 hello
meet back
meet asked
is "v4.2: unlock after it" yes set u 0 0
L=("${L3[@]}"); is "v3: unlock after it" yes set u 0 0
meet end
dmesg | grep -iE "nfs|lockd" | tail -n 8
exit 0
"""

SECOND = LOCKER + r"""
for v in 3 4.0 4.1 4.2; do
  up $v && yes "v$v: mount" || { no "v$v: mount"; exit 1; }
  meet a$v
  open_locker "/mnt/$v/lock.$v"
  is "read lock in its way" no set r 0 1
  is "who is in the way" "1 0 40" get w 5 1
  is "read lock of the shared middle" yes set r 45 5
  is "write lock of it" no set w 45 5
  is "write lock behind it" yes set w 100 50
  is "unlock" yes set u 0 0
  meet b$v
  is "waits for a part" yes wait w 0 10
  meet c$v
  meet d$v
  is "the rest is free now" yes set w 0 100
  is "unlock" yes set u 0 0
  meet dd$v
  meet e$v
  is "flock is refused" no flock w
  meet ee$v
  meet f$v
  is "flock" yes flock w
  is "unlock" yes flock u
  close_locker; open_locker "/mnt/$v/lock.$v"
  is "write lock" yes set w 1000 1
  meet ff$v
  meet g$v
  close_locker
  meet h$v
  echo two > "/mnt/$v/kept.$v" && yes "$V: writes what the other keeps" || no "$V: writes what the other keeps"
  meet hh$v
done
V=restart
meet held
wait_file "$SHARE/killed"
meet back
open_locker /mnt/4.1/held
# Grace lasts until hosts of v3 had their time; the kernel asks again by itself.
is "v4.1: the v4.2 lock is still held" no set w 50 1
is "v4.1: the v3 lock is still held" no set w 250 1
is "v4.1: between them" yes set w 150 1
meet asked
is "v4.1: waits until both are gone" yes wait w 0 300
meet end
exit 0
"""


class Kills:
    """Kills the server when a guest says so, and starts it again on the same state."""

    def __init__(self, folder):
        self.state, self.share = os.path.join(folder, "state"), None
        self.kills = 0
        self.start()

    def start(self):
        self.server = Server(self.state, uml.SERVER, 3260, nfs_port=2049,
                             more=("--nfs-lease", str(LEASE)))

    def poll(self):
        if self.kills or not os.path.exists(os.path.join(self.share, "kill-now")):
            return
        self.kills += 1
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()
        self.start()
        with open(os.path.join(self.share, "killed"), "w", encoding="utf-8"):
            pass


def test(tap):
    uml.needs()
    uml.enter()
    folder = tempfile.mkdtemp(prefix="granary-locks-")
    kills = guests = None
    try:
        kills = Kills(folder)
        kills.server.granary("share", "allow", "tank/files", "--client", "10.77.0.0/24",
                             "--no-root-squash")
        guests = uml.Guests(os.path.join(folder, "guests"), [FIRST, SECOND])
        kills.share = guests.share
        in_time = False
        for _ in range(GUEST_LIMIT * 4):
            kills.poll()
            in_time = guests.wait(0.25)
            if in_time:
                break
        for line in kills.server.log().splitlines():
            if "NFS" in line:
                tap.note(line)
        uml.tell(tap, guests, 1, "first")
        uml.tell(tap, guests, 2, "second")
        tap.point(in_time, "both are through in time", kills.server.log()[-3000:])
        tap.point(kills.kills == 1, "the server was killed once")
        tap.point(kills.server.stop() == 0, "the daemon stops cleanly", kills.server.log()[-3000:])
    finally:
        if guests:
            guests.stop()
        if kills:
            kills.server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
