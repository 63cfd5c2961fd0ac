#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=300 engines=one asan
"""The appliance is updated through the API and the command line: the real granaryd, granary-web,
granary-hostd and granary-update, in a mount namespace with the disk of an appliance (loop devices) and
a system bus of the test's own. A bundle comes in pieces or from a URL; forged, damaged, cut off and
older ones are refused and change nothing; a good one is in the other slot, read back, until somebody
goes back."""

import base64
import fcntl
import functools
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))
sys.path.insert(0, os.path.join(TOP, "appliance"))
sys.dont_write_bytecode = True

import api      # pylint: disable=wrong-import-position
import bus      # pylint: disable=wrong-import-position
import formats  # pylint: disable=wrong-import-position
import loops    # pylint: disable=wrong-import-position
import tap      # pylint: disable=wrong-import-position
import web      # pylint: disable=wrong-import-position

V1 = "/api/v1"
UPDATE = f"{V1}/appliance/update"
PIECE = 1 << 20
SEQUENCE = 1000
BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
# The boot partition is what the kernel can mount; granary-update is built for either.
with open("/proc/filesystems", encoding="ascii") as known:
    VFAT = "\tvfat\n" in known.read()
MAKE_ESP = ("mkfs.vfat", "-n") if VFAT else ("mkfs.ext4", "-q", "-L")
GRANARY_UPDATE = os.path.join(BUILD, "granary-update" if VFAT else "tests/integration/update_ext4")
NEEDED = (MAKE_ESP[0], "fsck.vfat", "openssl", "losetup", "unshare")


def quiet(*words):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)


class Machine:
    """What granary-update and granary-hostd find of an appliance: kernel command line, release and key,
    boot partition, both slots, the run-time folders, the bus. In this process's own namespace."""

    def __init__(self, folder, devices):
        self.folder = folder
        self.esp, self.other = devices
        self.key = formats.update_key(folder, None)
        self.children = []
        self.gate = threading.Event()  # granary-update begins when it is set
        self.gate.set()
        self.dev = os.path.join(folder, "dev")
        for place in ("/run", "/var/lib", "/usr/share", "/etc/ssl/certs"):
            quiet("mount", "-t", "tmpfs", "tmpfs", place)
        self.devices()
        os.makedirs("/usr/share/granary")
        os.makedirs("/var/lib/granary/host")
        os.makedirs("/run/systemd/network")
        formats.write_release("/usr/share/granary", "1.0.0", SEQUENCE, self.key)
        line = os.path.join(folder, "cmdline")
        with open(line, "w", encoding="ascii") as file:
            file.write("quiet root=PARTLABEL=root-a ro\n")
        quiet("mount", "--bind", line, "/proc/cmdline")
        quiet(*MAKE_ESP, "GRANARY", self.esp)
        self.in_esp(self.fill)
        self.bus = bus.Bus("/run/dbus/system_bus_socket", self.unit)
        with open(os.path.join(folder, "hostd.log"), "wb") as log:
            self.hostd = subprocess.Popen([os.path.join(BUILD, "granary-hostd")],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        limit = time.monotonic() + 60
        while not os.path.exists("/run/granary/host.sock"):
            if self.hostd.poll() is not None or time.monotonic() > limit:
                raise RuntimeError("granary-hostd: " + self.log())
            time.sleep(0.02)

    def log(self):
        with open(os.path.join(self.folder, "hostd.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def devices(self):
        """/dev anew, with these two by their labels."""
        numbers = [(path, os.stat(path)) for path in ("/dev/null", "/dev/zero", "/dev/urandom",
                                                      "/dev/random", self.esp, self.other)]
        quiet("mount", "-t", "tmpfs", "tmpfs", "/dev")
        for path, info in numbers:
            kind = stat.S_IFBLK if stat.S_ISBLK(info.st_mode) else stat.S_IFCHR
            os.mknod(path, kind | 0o666, info.st_rdev)
            os.chmod(path, 0o666)
        os.makedirs("/dev/shm")
        for link, path in (("by-label/GRANARY", self.esp), ("by-partlabel/root-b", self.other)):
            os.makedirs(os.path.dirname(f"/dev/disk/{link}"))
            os.symlink(path, f"/dev/disk/{link}")

    def in_esp(self, does):
        mount = os.path.join(self.folder, "esp")
        os.makedirs(mount, exist_ok=True)
        quiet("mount", "-t", "vfat" if VFAT else "ext4", self.esp, mount)
        try:
            return does(mount)
        finally:
            quiet("umount", mount)

    def fill(self, mount):
        os.makedirs(f"{mount}/granary/a")
        for name in ("vmlinuz", "initrd"):
            with open(f"{mount}/granary/a/{name}", "wb") as file:
                file.write(b"a's")
        text = b"# GRUB Environment Block\nslot=a\ngood=1\ntries=0\nfailed=\n"
        with open(f"{mount}/granary/grubenv", "wb") as file:
            file.write(text + b"#" * (1024 - len(text)))

    def env(self):
        """What the boot loader goes by."""
        def read(mount):
            with open(f"{mount}/granary/grubenv", encoding="ascii") as file:
                return dict(line.split("=", 1) for line in file.read().splitlines() if "=" in line)
        return self.in_esp(read)

    def slot_b(self, length):
        """The boot partition's files of the other slot, and the first bytes of its root."""
        def read(mount):
            found = []
            for name in ("vmlinuz", "initrd"):
                with open(f"{mount}/granary/b/{name}", "rb") as file:
                    found.append(file.read())
            return found
        files = self.in_esp(read)
        with open(self.other, "rb") as root:
            return [*files, root.read(length)]

    def unit(self, name):
        """systemd starts a unit."""
        if name != "granary-update.service":
            raise RuntimeError(f"there is no unit {name}")
        self.gate.wait(60)
        log = open(os.path.join(self.folder, "update.log"), "ab")  # pylint: disable=consider-using-with
        self.children.append(subprocess.Popen([GRANARY_UPDATE, "asked"],
                                              stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        log.close()

    def update_log(self):
        with open(os.path.join(self.folder, "update.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        self.hostd.send_signal(signal.SIGTERM)
        self.hostd.wait(60)
        self.bus.close()


def make_bundles(machine):
    """{name: bytes}, and what is in a good one."""
    folder, numbers = machine.folder, random.Random(14)
    parts = []
    for name, size in (("vmlinuz", 70001), ("initrd", 300000), ("root", 3 * PIECE + 4096)):
        parts.append(os.path.join(folder, name))
        with open(parts[-1], "wb") as file:
            file.write(numbers.randbytes(size))
    os.makedirs(os.path.join(folder, "stranger"))
    stranger = formats.update_key(os.path.join(folder, "stranger"), None)
    made = {}
    for name, key, version, sequence in (("good", machine.key, "2.0.0", SEQUENCE + 10),
                                         ("older", machine.key, "0.9.0", SEQUENCE - 10),
                                         ("forged", stranger, "9.0.0", SEQUENCE + 20)):
        path = os.path.join(folder, "bundle")
        formats.write_bundle(path, key, version, sequence, parts)
        with open(path, "rb") as file:
            made[name] = file.read()
    made["short"] = made["good"][:len(made["good"]) // 2]
    damaged = bytearray(made["good"])
    damaged[-1000] ^= 4
    made["damaged"] = bytes(damaged)
    made["none"] = b"<html>no bundle</html>" * 100
    contents = []
    for path in parts:
        with open(path, "rb") as file:
            contents.append(file.read())
    return made, contents


class Releases:
    """A server of releases by https, with a certificate that the machine believes."""

    def __init__(self, folder, bundles):
        self.folder = os.path.join(folder, "releases")
        os.makedirs(self.folder)
        for name, data in bundles.items():
            with open(os.path.join(self.folder, name), "wb") as file:
                file.write(data)
        key, cert = os.path.join(folder, "tls.key"), os.path.join(folder, "tls.pem")
        quiet("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
              "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
              "-days", "2", "-keyout", key, "-out", cert)
        shutil.copy(cert, "/etc/ssl/certs/ca-certificates.crt")
        os.chmod("/etc/ssl/certs/ca-certificates.crt", 0o644)
        os.chmod("/etc/ssl/certs", 0o755)

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

            def do_GET(self):
                if self.path == "/plain":
                    self.send_response(302)
                    self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/good")
                    self.end_headers()
                elif self.path == "/cut":  # the line is cut in the middle of it
                    data = bundles["good"]
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data[:len(data) // 2])
                else:
                    super().do_GET()

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # who has seen enough hangs up

        self.server = Server(
            ("127.0.0.1", 0), functools.partial(Handler, directory=self.folder))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def settled(daemon):
    """The state when no update is under way any more."""
    limit = time.monotonic() + 120
    while (state := daemon.good("GET", UPDATE))["under_way"] and time.monotonic() < limit:
        time.sleep(0.1)
    return state


def piece(daemon, data, at):
    return daemon.call("PUT", f"{UPDATE}/bundle?offset={at}",
                       {"data": base64.b64encode(data[at:at + PIECE]).decode()})


def upload(daemon, name, data):
    begun = daemon.good("POST", f"{UPDATE}/bundle", {"name": name, "size": len(data)})
    for at in range(begun["received_bytes"], len(data), PIECE):
        reply = piece(daemon, data, at)
        assert reply["status"] == 200, reply
    return daemon.call("POST", f"{UPDATE}/bundle/done", {"sha256": hashlib.sha256(data).hexdigest()})


def no_appliance(points, daemon):
    """Before there is a helper."""
    replies = [daemon.call("GET", UPDATE), daemon.call("POST", UPDATE, {}),
               daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": "https://127.0.0.1/x"}),
               daemon.call("POST", f"{UPDATE}/rollback"),
               daemon.call("POST", f"{UPDATE}/bundle", {"name": "x", "size": 1}),
               daemon.call("PUT", f"{UPDATE}/bundle?offset=0", {"data": "YQ=="})]
    points.point(all(reply["status"] == 404 and reply["body"]["code"] == "no_appliance"
                     for reply in replies), "a plain daemon says that it is no appliance", replies)
    told = daemon.granary("appliance", "update", "--yes")
    points.point(told.returncode == 1 and "not the appliance" in told.stderr, "so does the command", told)


def by_pieces(points, daemon, machine, bundles):
    good = bundles["good"]
    back = [daemon.call("POST", f"{UPDATE}/rollback{query}") for query in ("", "?dry_run=1")]
    points.point(all(reply["status"] == 422 and reply["body"]["code"] == "no_other_release"
                     for reply in back) and machine.env()["slot"] == "a",
                 "there is nothing to go back to yet", back)
    nothing = daemon.call("POST", UPDATE, {})
    points.point(nothing["status"] == 409 and nothing["body"]["code"] == "nothing_uploaded",
                 "without a bundle there is no update", nothing)
    daemon.good("POST", f"{UPDATE}/bundle", {"name": "good", "size": len(good)})
    first = piece(daemon, good, 0)
    wrong = piece(daemon, good, 3 * PIECE)
    early = daemon.call("POST", UPDATE, {})
    points.point(first["status"] == 200 and first["body"]["received_bytes"] == PIECE and
                 wrong["status"] == 409 and wrong["body"]["code"] == "wrong_offset" and
                 early["body"]["code"] == "not_all_there",
                 "a bundle comes in pieces, each where the one before has ended", [first, wrong, early])
    machine.hostd.kill()
    machine.hostd.wait()
    os.unlink("/run/granary/host.sock")
    machine.hostd = subprocess.Popen([os.path.join(BUILD, "granary-hostd")],
                                     stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not os.path.exists("/run/granary/host.sock") and time.monotonic() < limit:
        time.sleep(0.02)
    again = daemon.good("POST", f"{UPDATE}/bundle", {"name": "good", "size": len(good)})
    points.point(again["received_bytes"] == PIECE, "it is gone on with after the helper was killed", again)
    done = upload(daemon, "good", good)
    points.point(done["status"] == 201 and done["body"]["checked"] and
                 daemon.good("GET", UPDATE)["bundle"]["complete"], "and is whole", done)


def refused(points, daemon, machine, bundles, releases):
    before = machine.env()
    for name, code in (("forged", "wrong_signature"), ("older", "older_release"), ("none", "no_bundle")):
        replies = [daemon.call("POST", UPDATE, {"url": f"{releases.url}/{name}"}),
                   daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/{name}"})]
        upload(daemon, name, bundles[name])
        replies.append(daemon.call("POST", UPDATE, {}))
        points.point(all(reply["status"] == 422 and reply["body"]["code"] == code for reply in replies) and
                     settled(daemon)["update"]["state"] == "failed" and machine.env() == before,
                     f"{name}: refused, from a URL and uploaded: {code}", replies)
    older = daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/older", "allow_older": True})
    points.point(older["status"] == 200 and older["body"]["after"]["release"] == "0.9.0",
                 "an older one may be asked for", older)
    for name, code in (("short", "bundle_truncated"), ("damaged", "bundle_damaged"),
                       ("cut", "download_failed")):
        daemon.call("POST", UPDATE, {"url": f"{releases.url}/{name}"})
        state = settled(daemon)
        points.point(state["update"]["state"] == "failed" and state["update"]["code"] == code and
                     machine.env()["slot"] == "a" and machine.env()["good"] == "1",
                     f"{name}: {code}, and the running slot stays", state)
    gone = daemon.call("POST", UPDATE, {"url": f"{releases.url}/nowhere"})
    plain = daemon.call("POST", UPDATE, {"url": f"{releases.url}/plain"})
    http_url = daemon.call("POST", UPDATE, {"url": releases.url.replace("https", "http") + "/good"})
    file_url = daemon.call("POST", UPDATE, {"url": "/etc/passwd"})
    points.point(gone["body"]["code"] == plain["body"]["code"] == "download_failed" and
                 http_url["body"]["code"] == file_url["body"]["code"] == "bad_url",
                 "a URL that gives nothing, one that leads to http, http, a path", [gone, plain, http_url])


def second(points, daemon, machine, releases):
    """While one is under way."""
    machine.gate.clear()
    first = []
    asks = threading.Thread(target=lambda: first.append(
        daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/good"})))
    asks.start()
    # The helper waits for the bus; what follows waits for the helper, in turn.
    time.sleep(0.3)
    replies = []
    others = [threading.Thread(target=lambda body=body, path=path: replies.append(
        daemon.call("POST", path, body)))
        for path, body in ((UPDATE, {"url": f"{releases.url}/good"}), (f"{UPDATE}/rollback", {}))]
    lock = os.open("/run/granary/update.lock", os.O_RDWR | os.O_CREAT, 0o600)
    machine.gate.set()
    asks.join(120)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as granary-update of the console does
    for other in others:
        other.start()
    for other in others:
        other.join(120)
    told = subprocess.run([GRANARY_UPDATE, "rollback", "--dry-run"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    state = daemon.good("GET", UPDATE)
    os.close(lock)
    points.point(first[0]["status"] == 200 and len(replies) == 2 and
                 all(reply["status"] == 409 and reply["body"]["code"] == "update_under_way"
                     for reply in replies) and state["under_way"] and told.returncode == 1 and
                 "under way" in told.stderr,
                 "a second one while one is under way is refused, whoever has begun it", [first, replies, told])


def dry(points, daemon, machine, releases, bundles):
    """Says which release would go where, and nothing is different."""
    def seen():
        with open(machine.other, "rb") as root, open(machine.esp, "rb") as esp:
            return hashlib.sha256(root.read()).digest(), hashlib.sha256(esp.read()).digest()
    quiet(GRANARY_UPDATE, "status")
    before, env = seen(), machine.env()
    bundle = upload(daemon, "good", bundles["good"])["body"]
    replies = [daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/good"}),
               daemon.call("POST", f"{UPDATE}?dry_run=1", {})]
    points.point(all(reply["status"] == 200 and reply["body"]["before"] == {"slot": "a", "release": "1.0.0"} and
                     reply["body"]["after"] == {"slot": "b", "release": "2.0.0"} for reply in replies),
                 "a dry run says which release would go into which slot", replies)
    state = settled(daemon)
    points.point(machine.env() == env and seen()[0] == before[0] and state["next"] == "a" and
                 state["bundle"]["complete"] and bundle["size_bytes"] == len(bundles["good"]),
                 "and nothing has: slot, boot loader and the bundle are as they were", state)
    told = daemon.granary("appliance", "update", f"{releases.url}/good", "--dry-run")
    points.point(told.returncode == 0 and "2.0.0" in told.stdout and machine.env() == env,
                 "the command says the same", told)


def installed(points, daemon, machine, contents):
    reply = daemon.call("POST", UPDATE, {})
    points.point(reply["status"] == 202 and reply["body"]["update"]["version"] in ("", "2.0.0"),
                 "an update begins", reply)
    state = settled(daemon)
    env = machine.env()
    points.point(state["update"]["state"] == "done" and state["next"] == "b" and state["on_trial"] and
                 state["update"]["done_bytes"] == state["update"]["size_bytes"] ==
                 2 * sum(len(part) for part in contents) and env["slot"] == "b" and env["tries"] == "3",
                 "it is done, and the next start is from the other slot, on trial", [state, env])
    points.point(machine.slot_b(len(contents[2])) == contents and "bundle" not in state,
                 "what was in the bundle is in the slot, and the upload is gone", state)
    back = daemon.call("POST", f"{UPDATE}/rollback?dry_run=1")
    points.point(back["status"] == 200 and machine.env() == env, "going back can be tried out", back)


def by_command(points, daemon, machine, releases, bundles):
    path = os.path.join(machine.folder, "release.update")
    with open(path, "wb") as file:
        file.write(bundles["good"])
    sent = daemon.granary("appliance", "upload", path)
    done = daemon.granary("appliance", "update", "--yes")
    points.point(sent.returncode == 0 and done.returncode == 0 and "release 2.0.0 is in slot b" in done.stdout,
                 "the command uploads and installs", [sent, done])
    forged = daemon.granary("appliance", "update", f"{releases.url}/forged", "--yes")
    points.point(forged.returncode == 1 and "not by this system" in forged.stderr,
                 "and says what is wrong with a bundle", forged)
    asked = daemon.granary("appliance", "update")
    shown = daemon.granary("appliance", "release")
    points.point(asked.returncode == 2 and "--yes" in asked.stderr and shown.returncode == 0 and
                 "1.0.0" in shown.stdout, "it asks first, and shows what runs", [asked, shown])
    direct = subprocess.run([GRANARY_UPDATE, "install", f"{releases.url}/good"],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    points.point(direct.returncode == 0 and "release 2.0.0 is in slot b" in direct.stdout and
                 settled(daemon)["update"]["state"] == "done",
                 "granary-update takes a URL by itself, and the API shows it", direct)
    back = daemon.granary("appliance", "rollback", "--yes")
    points.point(back.returncode == 0 and "slot b" in back.stdout and machine.env()["slot"] == "b",
                 "the other slot is started next", back)


def killed(points, daemon, machine, releases):
    """granary-update dies: it is no update under way."""
    with open("/run/granary/update.json", "w", encoding="ascii") as file:
        json.dump({"state": "writing", "kind": "install", "version": "3", "slot": "b", "done_bytes": 1,
                   "size_bytes": 9, "code": "", "detail": ""}, file)
    state = daemon.good("GET", UPDATE)
    points.point(not state["under_way"] and state["update"]["state"] == "failed" and
                 state["update"]["code"] == "update_stopped", "an update that died has failed", state)
    again = daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/good"})
    points.point(again["status"] == 200, "and another may be begun", again)
    points.point("Sanitizer" not in machine.update_log() and "runtime error" not in machine.update_log(),
                 "nothing is wrong with granary-update", machine.update_log()[-2000:])


def by_https(points, daemon, front, bundles):
    """Roles, the password again, bytes as they are, and the audit log."""
    code = daemon.good("GET", f"{V1}/setup")["code"]
    admin = front.client()
    made = admin.call("POST", f"{V1}/setup", {"code": code, "name": "root", "password": "long enough 1"})
    unconfirmed = [admin.call("POST", UPDATE, {}), admin.call("POST", f"{UPDATE}?dry_run=1", {}),
                   admin.call("POST", f"{UPDATE}/rollback")]
    points.point(all(reply.status == 403 and reply.body["code"] == "confirm_first" for reply in unconfirmed),
                 "it wants the password again", unconfirmed)
    admin.call("POST", f"{V1}/me/confirm", {"password": "long enough 1"})
    admin.call("POST", f"{V1}/accounts", {"name": "op", "role": "operator", "password": "long enough 2"})
    operator = front.client()
    operator.call("POST", f"{V1}/login", {"name": "op", "password": "long enough 2"})
    tries = [operator.call("POST", UPDATE, {}), operator.call("POST", f"{UPDATE}/rollback"),
             operator.call("POST", f"{UPDATE}/bundle", {"name": "x", "size": 5})]
    points.point(made.status in (200, 201) and operator.call("GET", UPDATE).status == 200 and
                 all(reply.status == 403 and reply.body["code"] == "role_too_low" for reply in tries),
                 "an operator sees it, an administrator does it", tries)
    admin = front.client()
    admin.call("POST", f"{V1}/login", {"name": "root", "password": "long enough 1"})
    data = bundles["good"]
    admin.call("POST", f"{UPDATE}/bundle", {"name": "web", "size": len(data)})
    sent = [admin.call("PUT", f"{UPDATE}/bundle?offset={at}", raw=data[at:at + PIECE],
                       headers={"Content-Type": "application/octet-stream"})
            for at in range(0, len(data), PIECE)]
    done = admin.call("POST", f"{UPDATE}/bundle/done", {"sha256": hashlib.sha256(data).hexdigest()})
    points.point(all(reply.status == 200 for reply in sent) and done.status == 201 and done.body["checked"],
                 "over HTTPS the pieces are bytes", [sent[-1], done])
    dropped = admin.call("DELETE", f"{UPDATE}/bundle")
    points.point(dropped.status == 200 and "bundle" not in admin.call("GET", UPDATE).body,
                 "what was uploaded can be deleted", dropped)
    entries = [(entry["method"], entry["path"]) for entry in admin.call("GET", f"{V1}/audit").body]
    points.point(("POST", UPDATE) in entries and ("POST", f"{UPDATE}/rollback") in entries and
                 ("POST", f"{UPDATE}/bundle/done") in entries and
                 not any(method == "PUT" and path.startswith(UPDATE) for method, path in entries),
                 "the audit log has the update and the upload, and not each piece", entries[:20])


def test(points):
    if os.getuid() != 0:
        raise tap.Skip("needs root")
    missing = [tool for tool in NEEDED if not shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    if missing:
        raise tap.Skip("needs " + ", ".join(missing))
    with tempfile.TemporaryDirectory() as folder, loops.Loops(folder, 2, "48M") as disks:
        daemon = api.Daemon(os.path.join(folder, "state"), pool=False)
        machine = front = releases = None
        try:
            no_appliance(points, daemon)
            points.point(daemon.stop() == 0, "a plain daemon stops")
            machine = Machine(folder, disks.paths)
            bundles, contents = make_bundles(machine)
            releases = Releases(folder, bundles)
            daemon = api.Daemon(os.path.join(folder, "state"), pool=False)
            front = web.Front(daemon.state)
            by_pieces(points, daemon, machine, bundles)
            refused(points, daemon, machine, bundles, releases)
            second(points, daemon, machine, releases)
            dry(points, daemon, machine, releases, bundles)
            installed(points, daemon, machine, contents)
            by_command(points, daemon, machine, releases, bundles)
            killed(points, daemon, machine, releases)
            by_https(points, daemon, front, bundles)
        finally:
            if front:
                points.point(front.stop() == 0, "the front stops cleanly", front.log())
            points.point(daemon.stop() == 0, "so does the daemon", daemon.log()[-2000:])
            if machine:
                machine.close()
            if releases:
                releases.close()


if __name__ == "__main__":
    if os.getuid() == 0 and "--inside" not in sys.argv:
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable,
                              os.path.abspath(__file__), "--inside"])
    tap.run(test)
