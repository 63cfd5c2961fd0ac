#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=both asan waits
"""Block devices that hang: loop devices on files that a FUSE server serves, and that server is
stopped; a pool on one, a passthrough volume on the other. Task
management is answered, other LUNs, logins and NOPs notice nothing, the host whose commands hang
logs in again, also with one of several connections; and everything goes on when the back end does."""

import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import pools                  # pylint: disable=wrong-import-position
import server                 # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

MIB = 1 << 20
POOL, DEVICE = 0, 1          # of the stopped files
SLOW, RAW, WELL = 0, 1, 2    # LUNs: on the pool, passthrough, on another pool
ABORT_TASK, ABORT_TASK_SET, LUN_RESET = 1, 2, 5
LIMIT = 5.0   # a task management function
SOON = 2.0    # what does not depend on the back end
FUA = 8


class Devices:
    """Two loop devices on the FUSE exports of a qemu-storage-daemon: .paths."""

    def __init__(self, folder):
        self.paths = []
        self.files = [os.path.join(folder, name) for name in ("pool", "device")]
        command = ["qemu-storage-daemon"]
        for number, (path, size) in enumerate(zip(self.files, (192 * MIB, 32 * MIB))):
            image = path + ".image"
            for name in (path, image):
                with open(name, "wb") as file:
                    file.truncate(size if name == image else 0)
            command += ["--blockdev", f"file,node-name=n{number},filename={image}",
                        "--export", f"fuse,id=e{number},node-name=n{number},mountpoint={path},"
                                    "writable=on,growable=off"]
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except FileNotFoundError as missing:
            raise tap.Skip("no qemu-storage-daemon") from missing
        try:
            self.attach()
        except BaseException:
            self.end()
            raise

    def attach(self):
        if not pools.wait_for(self.mounted) or self.process.poll() is not None:
            raise tap.Skip("no FUSE exports here")
        for path in self.files:
            made = subprocess.run(["losetup", "--show", "-f", path], capture_output=True, text=True)
            if made.returncode:
                raise tap.Skip(f"no loop device: {made.stderr.strip()}")
            self.paths.append(made.stdout.strip())

    def mounted(self):
        with open("/proc/mounts", encoding="utf-8") as mounts:
            text = mounts.read()
        return self.process.poll() is not None or all(f" {path} fuse" in text
                                                      for path in self.files)

    def stop(self):
        server.pause(self.process.pid)

    def go(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        self.go()
        for path in self.paths:
            subprocess.run(["losetup", "-d", path], capture_output=True, timeout=60)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def session(daemon, port_id, target=pools.IQN):
    client = iscsi.Connection("127.0.0.1", daemon.port)
    client.isid = bytes([0x80, 0, 0, 0, 0, port_id])
    client.login(target)
    return client


def hear(client, lun):
    while client.command(bytes(6), lun=lun).status:
        pass


def write_cdb(lba, blocks, flags=FUA):
    return struct.pack(">BBIBHB", 0x2A, flags, lba, 0, blocks, 0)


def timed(call):
    begin = time.monotonic()
    value = call()
    return value, time.monotonic() - begin


def soon(call):
    """(Was it good each time, the shortest time of three.) The back end hangs all along: who waits for
    it waits each time, who waits for a busy machine does not."""
    good, least = True, None
    for _ in range(3):
        value, took = timed(call)
        good, least = good and value, min(took, least or took)
        if least < SOON:
            break
    return good, least


def hangs(client, lun):
    """Sends a WRITE that has to reach the back end, and a READ of what no cache has."""
    data = bytes([0x5A]) * 4096
    write = client.send_command(write_cdb(800, 8), data, immediate=data, lun=lun)
    read = client.send_command(struct.pack(">BBIBHB", 0x28, 0, 16000, 0, 8, 0), expected=4096,
                               read=True, lun=lun)
    return write, read


def others(points, daemon, client, when):
    """What must not wait for the LUNs that hang."""
    def io(connection):
        text = when.encode().ljust(512, b".") * 16
        connection.write(2048, text, lun=WELL)
        return connection.read(2048, 16, lun=WELL) == text

    good, took = soon(lambda: io(client))
    points.point(good and took < SOON, f"{when}: another LUN of the session goes on", took)
    good, took = soon(lambda: client.ping(b"still here") == b"still here")
    points.point(good and took < SOON, f"{when}: a NOP is answered", took)

    def login():
        with session(daemon, 9) as other:
            hear(other, WELL)
            return io(other)

    good, took = soon(login)
    points.point(good and took < SOON, f"{when}: a host logs in and works", took)

    def discover():
        with iscsi.Connection("127.0.0.1", daemon.port) as finder:
            finder.login(None)
            return pools.IQN.encode() in finder.text_request(b"SendTargets=All\0").data

    good, took = soon(discover)
    points.point(good and took < SOON, f"{when}: discovery", took)
    good, took = soon(lambda: daemon.run("lun", "list", pools.IQN).returncode == 0)
    points.point(good and took < SOON, f"{when}: the administrator is answered", took)


class InBackground(threading.Thread):
    """call() beside the others; .value, .took, .error."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self.call, self.value, self.took, self.error = call, None, None, None
        self.start()

    def run(self):
        try:
            self.value, self.took = timed(self.call)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error


def task_management(points, clients, stuck):
    """Each within the limit, while the back end says nothing."""
    wanted = (("ABORT TASK of a WRITE", ABORT_TASK, SLOW, stuck[0]),
              ("ABORT TASK SET of a passthrough LUN", ABORT_TASK_SET, RAW, iscsi.NO_TAG),
              ("LOGICAL UNIT RESET", LUN_RESET, SLOW, iscsi.NO_TAG))
    asked = [InBackground(lambda c=client, f=function, t=tag, l=lun: c.task_management(f, t, l))
             for client, (_, function, lun, tag) in zip(clients, wanted)]
    for (text, *_), answer in zip(wanted, asked):
        answer.join(6 * LIMIT)
        points.point(answer.value == 0 and answer.took < LIMIT,
                     f"{text} is answered in {answer.took or 0:.2f} s", f"{answer.value} {answer.error}")


def again(points, daemon):
    """Session recovery: the same initiator port, while its old commands still hang."""
    client, took = timed(lambda: session(daemon, 1))
    points.point(took < LIMIT + SOON, f"the same initiator port logs in again in {took:.2f} s")
    hear(client, WELL)
    text = b"again".ljust(512, b".")
    client.write(64, text, lun=WELL)
    points.point(client.read(64, 1, lun=WELL) == text, "and works on the other LUN")
    return client


def several_connections(points, session):
    """A connection with commands that hang is replaced, and another one is logged out."""
    a, b, c = session.connections
    hear(a, SLOW)
    # Who logs another one out is lost before the answer; nothing of it is to be thought of then.
    d, e = session.add(), session.add()
    hangs(e, SLOW)
    d.send_raw(d.pdu(iscsi.LOGOUT | iscsi.IMMEDIATE, iscsi.FINAL | 1, itt=d.tag(),
                     specific=struct.pack(">HHII", e.cid, 0, session.cmdsn, d.expstatsn)))
    e.expect_end()
    d.close()
    hangs(b, SLOW)
    hangs(c, SLOW)
    new, took = timed(lambda: session.add(b.cid))
    points.point(new.ping(b"new") == b"new" and took < LIMIT + SOON,
                 f"the same CID logs in again in {took:.2f} s")
    code, took = timed(lambda: a.logout(1, c.cid))
    points.point(code == 3 and took < LIMIT + SOON,
                 f"logout of another connection is answered in {took:.2f} s: not clean", code)
    (code, new), took = timed(lambda: (a.logout(1, c.cid), session.add(c.cid)))
    points.point(code == 1 and took < LIMIT and new.ping(b"newer") == b"newer",
                 "there is none with its CID then, and it is free", (code, took))
    a.send_command(bytes(6), lun=WELL)
    answer = a.receive()
    points.point((answer.maxcmdsn - session.cmdsn) & 0xFFFFFFFF == 127,
                 "the window is open", answer.maxcmdsn - session.cmdsn)


def goes_on(points, client):
    """The back end is back."""
    for lun, name in ((SLOW, "the pool's LUN"), (RAW, "the passthrough LUN")):
        client.socket.settimeout(90)
        hear(client, lun)
        text = bytes([0x33]) * 4096
        client.write(800, text, lun=lun)
        points.point(client.read(800, 8, lun=lun) == text and
                     client.read(0, 8, lun=lun) == b"\x11" * 4096,
                     f"{name} goes on, what was there is there")


def alerted(daemon, wanted):
    """The LUNs that the alerts say hang; as soon as they are those @wanted, or after a while."""
    limit = time.monotonic() + 60
    while True:
        found = {int(one["object"].rpartition(" ")[2]) for one in daemon.json("alert", "list")
                 if one["rule"] == "lun-hung"}
        if found == wanted or time.monotonic() > limit:
            return found
        time.sleep(0.2)


def run(points, daemon, devices):
    daemon.good("pool", "create", "slow", devices.paths[POOL])
    daemon.good("pool", "create", "well", f"{daemon.state}.well:128M")
    daemon.serve("slow/s", "64M", lun=SLOW)
    daemon.good("volume", "create", "passthrough/raw", "--device", devices.paths[DEVICE])
    daemon.good("lun", "map", pools.IQN, "passthrough/raw", "--lun", str(RAW))
    daemon.serve("well/w", "64M", lun=WELL)
    clients = [session(daemon, number) for number in (1, 2, 3)]
    client = clients[0]
    several = iscsi.Session("127.0.0.1", daemon.port, pools.IQN, 4)
    hear(several.connections[0], WELL)
    for _ in range(2):
        several.add()
    for lun in (SLOW, RAW, WELL):
        for one in clients:
            hear(one, lun)
        client.write(0, b"\x11" * 4096, lun=lun)
        client.write(16000, b"\x12" * 4096, lun=lun)
        client.command(bytes([0x35]) + bytes(9), lun=lun)
    daemon.good("alert", "rule", "set", "lun-hung", "--after", "2s", "--clear-after", "1s")
    devices.stop()
    try:
        stuck = [hangs(one, lun)[0] for one, lun in zip(clients, (SLOW, RAW, SLOW))]
        check = InBackground(lambda: daemon.run("lun", "check", pools.IQN, str(SLOW),
                                                "--profile", "kvm"))
        others(points, daemon, client, "hanging")
        found = alerted(daemon, {SLOW, RAW})
        points.point(found == {SLOW, RAW}, "alerts say which LUNs hang, and no other", found)
        task_management(points, clients, stuck)
        hangs(client, SLOW)
        recovered = again(points, daemon)
        several_connections(points, several)
        others(points, daemon, recovered, "after aborts and a new login")
        check.join(90)
        points.point(check.value and check.value.returncode == 1 and
                     "no answer within 10 s" in check.value.stdout,
                     "lun check says that it hangs", check.value or check.error)
    finally:
        devices.go()
    goes_on(points, recovered)
    found = alerted(daemon, set())
    points.point(not found, "and clear", found)
    for one in (recovered, several, *clients):
        one.close()


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-hang-") as folder:
        if os.getuid() != 0:
            raise tap.Skip("needs root (FUSE exports)")
        devices = Devices(folder)
        try:
            daemon = pools.Daemon(os.path.join(folder, "state"))
            try:
                run(points, daemon, devices)
            finally:
                points.point(daemon.stop() == 0, "the daemon stops cleanly", daemon.log()[-3000:])
        finally:
            devices.end()


if __name__ == "__main__":
    tap.run(test)
