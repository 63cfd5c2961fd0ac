#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=600 engines=one asan=never
"""A real guest, recorded and replayed to crash points. A user-mode-linux kernel works on ext4 and
xfs (files synced as careful programs do it, packages installed by dpkg), on sqlite databases and on
a PostgreSQL cluster, on LUNs of granaryd; what it does to them is recorded between initiator and target. The recording is
replayed into volumes over the simulator's disks, which lose and tear what was not flushed when the
power goes; after the recovery this machine's kernel mounts what is there. At each crash point the
file systems are clean and all that the guest was promised is in them.

TRACE_MINUTES=N: for so long, with larger recordings and fresh seeds. After damage the recording is
kept: TRACE_FILE=PATH TRACE_SEED=S (or S-T) replays it as that seed did."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guest"))
# pylint: disable=wrong-import-position
import postgres
import traces
import uml
from server import BUILD, Server
from tap import Skip, run

TARGET = "iqn.2026-11.org.granary:traced"
# name, file system, size: LUN 1, 2, ..
VOLUMES = (("ext4", "ext4", 64 << 20), ("xfs", "xfs", 80 << 20), ("db", "ext4", 48 << 20),
           ("dbx", "xfs", 64 << 20), ("pg", "ext4", 112 << 20))
MARKS_SIZE = "8M"
GUEST_LIMIT = 700
LOOK = "/run/look"  # where images are mounted: /run is this test's own
REPLAY = os.path.join(BUILD, "tests/sim/trace_replay")
MINUTES = float(os.environ.get("TRACE_MINUTES", "0"))
POINTS, STATES = (30, 4) if MINUTES else (6, 1)
# What the images have to betray, and how often the power goes at most until it is seen.
MUTANTS = (("a cache that forgets flushes and FUA", ["--no-flush"]),
           ("a cache that does writes long after it said so", ["--late-writes"]),
           ("an engine that does not flush its devices", ["--without", "cycle_flush_devices"]))
MUTANT_POINTS = 12

SCRIPT = r"""
load=$SHARE/trace_load portal=$SERVER:@PORT@
lun() { local i d; for i in $(seq 200); do for d in /sys/class/iscsi_session/session*/device/target*/*:$1/block/sd*; do [ -b "/dev/${d##*/}" ] && [ "$(cat "$d/size")" -gt 0 ] && { echo "/dev/${d##*/}"; return; }; done; sleep 0.1; done; return 1; }
iscsid
iscsiadm -m node -o new -T @TARGET@ -p "$portal" >/dev/null
check "login" iscsiadm -m node -T @TARGET@ -p "$portal" --login || exit 1
marks=$(lun 0) || { no "the marks' disk is there"; exit 1; }

# Made, mounted, named; journals as they are by default.
make() {
	local name=$1 kind=$2 disk
	disk=$(lun "$3") || return 1
	[ "$(cat "/sys/block/${disk##*/}/queue/write_cache")" = "write back" ] && [ "$(cat "/sys/block/${disk##*/}/queue/logical_block_size")" = 512 ] || return 1
	case $kind in ext4) mkfs.ext4 -qF "$disk" || return 1 ;; xfs) mkfs.xfs --unsupported -qf -l size=8m "$disk" || return 1 ;; esac
	mkdir -p "/mnt/$name" && mount -t "$kind" -o "$4" "$disk" "/mnt/$name"
}
# Packages of some of the guest's own files, installed as everybody does it.
packages() {
	local name=$1 top=/mnt/$1 from=$2 i p
	mkdir -p "$top"/var/lib/dpkg/{info,updates,triggers}
	: > "$top/var/lib/dpkg/status"
	for i in $(seq "$3"); do
		p=/tmp/$name.p$i
		mkdir -p "$p/DEBIAN" "$p/usr/share/p$i"
		printf 'Package: p%s\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: files\n' "$i" > "$p/DEBIAN/control"
		sed -n "$((from + i * 12)),$((from + i * 12 + 11))p" /tmp/some | xargs cp --parents -t "$p/usr/share/p$i/"
		dpkg-deb -Znone --root-owner-group -b "$p" "$p.deb" >/dev/null || return 1
		dpkg --root="$top" --log=/dev/null -i "$p.deb" >/dev/null || return 1
		"$load" mark "$marks" "$name package p$i" || return 1
		rm -rf "$p" "$p.deb"
	done
}
check "ext4 on LUN 1" make ext4 ext4 1 noatime || exit 1
check "xfs on LUN 2" make xfs xfs 2 noatime || exit 1
check "ext4 with discard on LUN 3" make db ext4 3 discard || exit 1
check "xfs on LUN 4" make dbx xfs 4 discard || exit 1
check "ext4 on LUN 5" make pg ext4 5 noatime || exit 1
check "a PostgreSQL cluster on it" pg_make pg || exit 1
find /usr/bin /usr/sbin /usr/lib/*/perl-base -type f -size -24k > /tmp/some
sync
"$load" mark "$marks" start || exit 1
for name in ext4 xfs; do
	{ "$load" files /mnt/$name $name @SEED@ @FILES@ "$marks" && packages $name $((RANDOM % 100)) @PACKAGES@ && "$load" mark "$marks" "done $name" && : > /tmp/done.$name; } &
done
for name in db dbx; do
	{ "$load" sqlite /mnt/$name $name @SEED@ @TRANSACTIONS@ "$marks" && : > /tmp/done.$name; } &
done
{ pg_load pg && : > /tmp/done.pg; } &
wait
for name in ext4 xfs db dbx pg; do
	[ -e /tmp/done.$name ] && yes "load on $name" || no "load on $name"
	umount /mnt/$name
done
iscsiadm -m node -T @TARGET@ --logout >/dev/null
exit 0
"""


def needs():
    uml.needs()
    postgres.needs()
    for program in ("e2fsck", "xfs_repair", "dpkg", "qemu-img", "losetup"):
        if not shutil.which(program):
            raise Skip(f"no {program}")
    if subprocess.run(["losetup", "-f"], capture_output=True).returncode:
        raise Skip("no loop device")
    with open("/proc/filesystems", encoding="ascii") as file:
        known = file.read().split()
    for kind in ("ext4", "xfs"):
        if kind not in known and subprocess.run(["modprobe", kind], capture_output=True).returncode:
            raise Skip(f"this kernel has no {kind}")


# ---- recording ----
def fill(port, seed, scale):
    script = SCRIPT
    for key, value in (("PORT", port), ("TARGET", TARGET), ("SEED", seed), ("FILES", 70 * scale),
                       ("TRANSACTIONS", 45 * scale), ("PACKAGES", 2 * scale)):
        script = script.replace(f"@{key}@", str(value))
    return postgres.guest(seed, 30 * scale) + script


def prepare(share):
    shutil.copy(os.path.join(BUILD, "tests/guest/trace_load"), share)
    postgres.take_along(share)


def serve(folder):
    server = Server(os.path.join(folder, "state"), uml.SERVER)
    server.granary("target", "create", TARGET)
    server.granary("volume", "create", "tank/marks", MARKS_SIZE)
    server.granary("lun", "map", TARGET, "tank/marks", "--lun", "0")
    for lun, (name, _, size) in enumerate(VOLUMES, 1):
        server.granary("volume", "create", f"tank/{name}", str(size))
        server.granary("lun", "map", TARGET, f"tank/{name}", "--lun", str(lun))
    server.granary("target", "allow", TARGET, "--network", "10.77.0.0/24")
    return server


def record(tap, folder, seed, scale):
    """A trace of one guest's life; its path. None: it is none."""
    path = os.path.join(folder, "trace")
    server = serve(folder)
    try:
        recorder = traces.Recorder(path, uml.SERVER, (uml.SERVER, server.port),
                                   [(name, size) for name, _, size in VOLUMES])
        guests = uml.Guests(os.path.join(folder, "guest"), [fill(recorder.port, seed, scale)],
                            prepare)
        try:
            in_time = guests.wait(GUEST_LIMIT + 60 * scale)
            uml.tell(tap, guests, 1, "guest")
        finally:
            guests.stop()
            recorder.close()
        counts = recorder.counts
        tap.note(f"recorded: {', '.join(f'{counts[key]} {key}' for key in sorted(counts))}; "
                 f"{recorder.bytes >> 20} MiB of data")
        good = tap.point(in_time and not recorder.problem and
                         all(counts.get(kind) for kind in ("W", "D", "F", "FUA", "M")),
                         "what the guest did is recorded: writes, discards, flushes and FUA",
                         recorder.problem or counts)
        good = complete(tap, folder, path, server) and good
    finally:
        status = server.stop()
    tap.point(status == 0, "the daemon stops cleanly")
    return path if good else None


def complete(tap, folder, path, server):
    """Replayed to its end without a crash, the volumes are the LUNs; and every promise is kept."""
    replay = Replay(path, os.path.join(folder, "whole"), "--end")
    for _ in replay.states():
        wrong = []
        for lun, (name, _, _) in enumerate(VOLUMES, 1):
            url = f"iscsi://{uml.SERVER}:{server.port}/{TARGET}/{lun}"
            same = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", url,
                                   replay.image(name)], capture_output=True, text=True)
            if same.returncode:
                wrong.append(f"{name}: {same.stdout}{same.stderr}")
        marks = traces.marks_of(path)
        replay.look(marks)
        noticed = [tricked(replay, marks, more) for more in
                   (["ext4", "put", "1", "100000000"], ["xfs", "package", "nothing"],
                    ["ext4", "log", "100000000"], ["db", "txn", "a", "1000000"],
                    ["pg", "pgtxn", "1", "1000000"])]
        tap.point(all(noticed), "a promise that was not kept is noticed", noticed)
        return tap.point(not wrong, "the recording is whole: replayed to its end the volumes hold "
                         "what the LUNs hold, byte by byte", "\n".join(wrong))
    return tap.point(False, "the replay comes to its end")


def tricked(replay, marks, more):
    try:
        replay.look(marks + [more])
    except traces.Damage:
        return True
    return False


# ---- replaying ----
class Replay:
    """trace_replay under way; after each of states() the images are there."""

    def __init__(self, path, folder, *options):
        self.folder = folder
        self.kinds = [(name, kind) for name, kind, _ in VOLUMES]
        os.makedirs(folder, exist_ok=True)
        self.command = [REPLAY, path, folder, *map(str, options)]

    def image(self, name):
        return os.path.join(self.folder, f"{name}.img")

    def states(self):
        """The words of each "state" line, as a dictionary. Damage when the replay itself sees it."""
        process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   text=True)
        notes = []
        try:
            for line in process.stdout:
                if line.startswith(("state ", "end ")):
                    words = line.split()
                    words = words if words[0] == "state" else words[1:]
                    yield dict(zip(words[::2], map(int, words[1::2])))
                    process.stdin.write("\n")
                    process.stdin.flush()
                elif line.startswith("damage"):
                    raise traces.Damage("\n".join([line.strip(), *notes[-8:]]))
                else:
                    notes.append(line.strip())
            if process.wait(60):
                raise traces.Damage("\n".join([f"trace_replay: status {process.returncode}",
                                               *notes[-8:]]))
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()
            process.stdin.close()

    def look(self, marks):
        """How many transactions of PostgreSQL had to be there."""
        return sum(traces.look(self.image(name), kind, name, marks, LOOK)
                   for name, kind in self.kinds)


def campaign(path, folder, seed, sums):
    """One seed's crash points; Damage at the first one."""
    replay = Replay(path, folder, "--seed", seed, "--points", POINTS, "--states", STATES)
    marks = traces.marks_of(path)
    for state in replay.states():
        transactions = replay.look(marks[:state["marks"]])
        for key, value in (("states", 1), ("clusters", transactions > 0),
                           ("transactions", transactions), ("images", len(VOLUMES)), ("lost", state["lost"]),
                           ("deep", state["depth"] > 1), ("replayed", state["replayed"])):
            sums[key] = sums.get(key, 0) + value


def crash_points(tap, path, folder, seeds):
    """Campaigns while @seeds gives some; false after damage."""
    sums = {}
    for seed in seeds:
        try:
            campaign(path, os.path.join(folder, "crash"), seed, sums)
        except traces.Damage as damage:
            kept = os.path.join(BUILD, "damaged.trace")
            if os.path.abspath(path) != kept:
                shutil.copy(path, kept)
            return tap.point(False, "clean and whole at every crash point",
                             f"seed {seed}: {damage}\nagain: TRACE_FILE={kept} TRACE_SEED={seed} "
                             f"TRACE_MINUTES={MINUTES:g} {sys.argv[0]}")
    tap.note(f"{sums.get('states', 0)} crash states, {sums.get('images', 0)} file systems looked "
             f"at; {sums.get('lost', 0)} writes lost or torn, {sums.get('deep', 0)} states after "
             f"another crash in the recovery, {sums.get('replayed', 0)} journal records replayed; "
             f"{sums.get('clusters', 0)} times PostgreSQL, {sums.get('transactions', 0)} of its "
             "transactions had to be there")
    return tap.point(sums.get("clusters", 0) > 0, "clean and whole at every crash point: ext4 and xfs "
                     "with synced files and packages, sqlite on both, PostgreSQL")


def mutants(tap, path, folder):
    """Or all of this shows nothing."""
    marks = traces.marks_of(path)
    for text, options in MUTANTS:
        replay = Replay(path, os.path.join(folder, "mutant"), "--lose", "--points", MUTANT_POINTS,
                        *options)
        seen, count = None, 0
        try:
            for state in replay.states():
                count += 1
                replay.look(marks[:state["marks"]])
        except traces.Damage as damage:
            seen = str(damage).splitlines()[0]
        tap.note(f"{text}: {seen} (state {count})")
        tap.point(seen is not None, f"noticed: {text}", f"not in {count} states")


def seeds_until(end, first):
    while time.monotonic() < end:
        yield first
        first += 1


def long(tap, folder):
    """Recording after recording; each is replayed for some minutes."""
    end = time.monotonic() + MINUTES * 60
    seed = int(os.environ.get("TRACE_SEED", time.time()))
    while time.monotonic() < end:
        work = os.path.join(folder, str(seed))
        path = record(tap, work, seed, 8)
        if not path:
            return
        until = min(end, time.monotonic() + max(120, MINUTES * 10))
        if not crash_points(tap, path, work, seeds_until(until, seed)):
            return
        mutants(tap, path, work)
        shutil.rmtree(work)
        seed += 1000


def test(tap):
    needs()
    uml.enter()
    # On /run, a tmpfs of this test alone, mounts and all.
    folder = tempfile.mkdtemp(prefix="granary-trace-", dir="/run" if not MINUTES else None)
    try:
        if os.environ.get("TRACE_FILE"):
            first, _, last = os.environ.get("TRACE_SEED", "1").partition("-")
            crash_points(tap, os.environ["TRACE_FILE"], folder,
                         range(int(first), int(last or first) + 1))
        elif MINUTES:
            long(tap, folder)
        else:
            path = record(tap, folder, 1, 1)
            if path:
                crash_points(tap, path, folder, (1, 2))
                mutants(tap, path, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(test)
