#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=400 engines=one
"""The suites of the native back end, unchanged, with the pools they make on a Ceph cluster: what they
ask of a LUN or a share is the same there. GRANARY_RBD_ALL=1: all of them (twenty minutes). Arguments:
names of suites, instead. What does not apply, and why: docs/CONFORMANCE.md."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import ceph  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

SUITES = ["share", "kill_soak", "attention", "snapshot"]
MORE = ["conformance", "offload", "reservations", "sessions", "access", "schedule", "lun_modes",
        "host_rules", "ats", "iscsi_bad_input", "hammer", "login_limit", "profile",
        "share_snapshot", "share_users", "nfs3_wire", "nfs41_wire", "nfs42_wire", "nfs4_acl",
        "nfs4_errors", "nfs4_delegation", "nfs4_locks", "nfs_udp_wire", "nlm_wire", "iso", "smb",
        "mount"]
SUITE_LIMIT = float(os.environ.get("GRANARY_SUITE_LIMIT",
                                   600 if os.environ.get("GRANARY_RBD_ALL") else 200))
SET_CHILD_SUBREAPER = 36  # prctl


# ---- what a suite leaves behind

def adopt():
    """Processes whose parents end become children of this one, and are found."""
    ctypes.CDLL(None, use_errno=True).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def parents():
    """{process: its parent}, of all that have not ended."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state not in "ZX":
            found[int(name)] = int(parent)
    return found


def below(spare):
    """Our descendants, but for those in @spare and theirs."""
    above, mine = parents(), []
    for pid in above:
        at = pid
        while at in above and at not in spare and above[at] != os.getpid():
            at = above[at]
        if at in above and at not in spare:
            mine.append(pid)
    return mine


def end_all(spare):
    """Kills what is below us but for @spare; how many there were."""
    count, limit = 0, time.monotonic() + 20
    left = below(spare)
    while left and time.monotonic() < limit:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                count += 1
            except ProcessLookupError:
                pass
        time.sleep(0.2)
        left = below(spare)
    return count


def interrupted(_number, _frame):
    """SIGTERM: clean up as after Ctrl-C."""
    raise KeyboardInterrupt


# ---- suites

def wait_for(child, text, limit):
    """Its output; None when it did not end in time. It is asked to clean up first."""
    try:
        child.wait(limit)
        late = False
    except subprocess.TimeoutExpired:
        late = True
        child.send_signal(signal.SIGINT)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    text.seek(0)
    return late, text.read().decode("utf-8", "replace")


def run_suite(points, name, environment, spare):
    """Its test points, each with the suite's name in front."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as text:
        child = subprocess.Popen([os.path.join(HERE, name + "_test.py")],
                                 stdin=subprocess.DEVNULL, stdout=text, stderr=subprocess.STDOUT,
                                 env=environment)
        late, output = wait_for(child, text, SUITE_LIMIT)
    took = time.monotonic() - begin
    seen = False
    for line in output.splitlines():
        words = line.split(" ", 2)
        verdict = line.startswith(("ok ", "not ok "))
        if verdict:
            seen = True
            points.point(line.startswith("ok "), f"{name}: {line.split(' - ', 1)[-1]}")
        elif line and not line.startswith("1.."):
            points.note(" ".join(words).lstrip("# "))
    left = end_all(spare)
    points.point(not late, f"{name} ends within {SUITE_LIMIT:.0f} s")
    if not late:
        points.point(not left, f"{name} leaves nothing running", f"{left} processes")
    points.point(seen and (late or child.returncode == 0), f"{name} ends well ({took:.0f} s)",
                 output[-2000:])


def test(points):
    adopt()
    signal.signal(signal.SIGTERM, interrupted)
    with tempfile.TemporaryDirectory(dir=os.environ.get("GRANARY_TEST_TMP")) as folder:
        cluster = ceph.Ceph(os.path.join(folder, "ceph"))
        spare = {cluster.mon.pid, cluster.osd.pid}
        try:
            environment = {**cluster.environment(), "GRANARY_TEST_CEPH": cluster.conf,
                           "GRANARY_KILLS": "3"}
            every = SUITES + (MORE if os.environ.get("GRANARY_RBD_ALL") else [])
            for name in sys.argv[1:] or every:
                run_suite(points, name, environment, spare)
        finally:
            end_all(spare)
            cluster.stop()


if __name__ == "__main__":
    tap.run(test)
