#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Updates of the built image (QEMU, TCG) as an administrator makes them from outside, through the API
over HTTPS: bundles that are forged, older or cut off are refused and change nothing; one from a URL
whose server nobody vouches for is not taken, a good one is, and runs from the other slot after a
restart with its data, until somebody goes back; one whose upload broke off and was gone on with, which
does not start, is given up by the boot loader, and the API says so."""

import hashlib
import http.client
import http.server
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(TOP, "tests/guest"))
sys.path.insert(0, os.path.join(TOP, "appliance"))
sys.dont_write_bytecode = True

from boot_test import plain             # pylint: disable=wrong-import-position
from box import BOOT_LIMIT, Box, image, patience  # pylint: disable=wrong-import-position
from update_test import unpack          # pylint: disable=wrong-import-position
from web import Client                  # pylint: disable=wrong-import-position
import formats                          # pylint: disable=wrong-import-position
import tap                              # pylint: disable=wrong-import-position

V1 = "/api/v1"
UPDATE = f"{V1}/appliance/update"
PIECE = 1 << 20
PASSWORD = "correct horse 7"
ROOTS = "/etc/ssl/certs/ca-certificates.crt"


class Outside:
    """The front of a box, as Client wants it."""

    def __init__(self, port):
        self.port = port

    @staticmethod
    def context():
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def make_bundles(folder):
    """{name: bytes}."""
    built = image()[:-len(".qcow2")] + ".update"
    key = os.path.join(os.path.dirname(built), "update-key.pem")
    sequence, files = unpack(built, folder)
    garbage = os.path.join(folder, "garbage")
    with open(garbage, "wb") as file:
        file.write(os.urandom(3 << 20))
    small = [garbage] * 3
    bundles = {}
    for name, signer, version, number, parts in (
            ("newer", key, "0.1.1", sequence + 10, files),
            ("broken", key, "0.1.2", sequence + 20, [*files[:2], garbage]),
            ("forged", formats.update_key(folder, None), "9.9.9", sequence + 30, small),
            ("older", key, "0.0.9", sequence - 10, small),
            ("short", key, "0.1.3", sequence + 40, small)):
        path = os.path.join(folder, name + ".update")
        formats.write_bundle(path, signer, version, number, parts)
        with open(path, "rb") as file:
            bundles[name] = file.read()
        os.unlink(path)
    bundles["short"] = bundles["short"][:len(bundles["short"]) // 2]
    return bundles


class Releases:
    """A server by https, which the guest sees as 10.0.2.2."""

    def __init__(self, folder, bundles):
        self.certificate = os.path.join(folder, "releases.pem")
        key = os.path.join(folder, "releases.key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=releases", "-addext",
                        "subjectAltName=IP:10.0.2.2", "-days", "30", "-keyout", key, "-out",
                        self.certificate], check=True, capture_output=True)

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

            def do_GET(self):
                data = bundles[self.path.strip("/")]
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # who does not believe the certificate hangs up

        self.server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://10.0.2.2:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Admin(Client):
    """An administrator, who gives the password again when he is asked to."""

    def sign_in(self):
        return self.call("POST", f"{V1}/login", {"name": "eve", "password": PASSWORD})

    def ask(self, method, path, body=None):
        reply = self.call(method, path, body)
        if reply.status == 403 and reply.body["code"] == "confirm_first":
            self.call("POST", f"{V1}/me/confirm", {"password": PASSWORD})
            reply = self.call(method, path, body)
        return reply

    def send(self, data, begin, end):
        """@data[begin:end] of an upload, piece by piece over one connection; the last answer."""
        line = http.client.HTTPSConnection("127.0.0.1", self.front.port, timeout=300,
                                           context=self.front.context())
        try:
            for at in range(begin, end, PIECE):
                line.request("PUT", f"{UPDATE}/bundle?offset={at}", data[at:min(at + PIECE, end)],
                             {"Host": f"127.0.0.1:{self.front.port}", "X-CSRF-Token": self.csrf,
                              "Cookie": "__Host-granary=" + self.cookie,
                              "Content-Type": "application/octet-stream"})
                reply = line.getresponse()
                body = json.loads(reply.read())
                if reply.status != 200:
                    raise RuntimeError(f"{at}: {reply.status} {body}")
        finally:
            line.close()
        return body

    def upload(self, name, data):
        begun = self.ask("POST", f"{UPDATE}/bundle", {"name": name, "size": len(data)})
        self.send(data, begun.body["received_bytes"], len(data))
        return self.ask("POST", f"{UPDATE}/bundle/done",
                        {"sha256": hashlib.sha256(data).hexdigest()})

    def settled(self):
        """The state when no update is under way any more."""
        limit = time.monotonic() + 600 * patience()
        while (state := self.ask("GET", UPDATE).body)["under_way"] and time.monotonic() < limit:
            time.sleep(2)
        return state


def set_up(points, box, shown):
    """The first account, by the code on the console."""
    box.type("\f")
    words = plain(shown + (box.wait("power off", 60) or ""))
    if "Set-up code" not in words:
        box.type("\f")
        words = plain(box.wait("power off", 60) or "")
    code = words.partition("Set-up code ")[2].split(" ")[0]
    admin = Admin(Outside(box.web_port))
    reply = admin.call("POST", f"{V1}/setup", {"name": "eve", "password": PASSWORD, "code": code})
    points.point(reply.status in (200, 201), "the first account", (reply, words))
    made = admin.ask("POST", f"{V1}/pools", {"name": "tank", "devices": [
        {"path": "/var/lib/granary/tank.pool", "size": "1G"}]})
    state = admin.ask("GET", UPDATE)
    points.point(made.status == 201 and state.status == 200 and state.body["slot"] == "a" and
                 state.body["next"] == "a" and not state.body["under_way"],
                 "a pool, and what runs: slot a", (made, state))
    return admin


def refused(points, admin, bundles):
    for name, code in (("forged", "wrong_signature"), ("older", "older_release")):
        admin.upload(name, bundles[name])
        reply = admin.ask("POST", UPDATE, {})
        state = admin.settled()
        points.point(reply.status == 422 and reply.body["code"] == code and state["next"] == "a",
                     f"{name}: {code}, and nothing has changed", (reply, state))
    admin.upload("short", bundles["short"])
    reply = admin.ask("POST", UPDATE, {})
    state = admin.settled()
    points.point(state["update"]["state"] == "failed" and
                 state["update"]["code"] == "bundle_truncated" and state["next"] == "a",
                 "a bundle cut off: bundle_truncated, and the running slot stays", (reply, state))


def from_url(points, box, admin, releases):
    reply = admin.ask("POST", UPDATE, {"url": f"{releases.url}/newer"})
    points.point(reply.status == 422 and reply.body["code"] == "download_failed",
                 "a server that nobody vouches for is not believed", reply)
    with open(releases.certificate, encoding="ascii") as file:
        lines = file.read().split("\n")
    box.shell()
    box.run(f"cp {ROOTS} /run/roots.crt")
    for line in lines:
        box.run(f"echo '{line}' >> /run/roots.crt")
    status, shown = box.run(f"chmod 644 /run/roots.crt; mount --bind /run/roots.crt {ROOTS}")
    points.point(status == 0, "its certificate is among those that are", shown)
    tried = admin.ask("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/newer"})
    points.point(tried.status == 200 and tried.body["after"] == {"slot": "b", "release": "0.1.1"},
                 "a dry run says what would go where", tried)
    begun = time.monotonic()
    reply = admin.ask("POST", UPDATE, {"url": f"{releases.url}/newer"})
    state = admin.settled()
    points.point(reply.status == 202 and state["update"]["state"] == "done" and
                 state["next"] == "b" and state["on_trial"],
                 "a release from the URL is in the other slot", (reply, state))
    points.note(f"fetched, written and read back in {time.monotonic() - begun:.0f} s (TCG)")
    status, shown = box.run("systemctl show granary-update -p Result -p User --no-pager; "
                            "journalctl -u granary-update --no-pager | tail -5")
    points.point(status == 0 and "Result=success" in shown, "by a unit of its own", shown)
    box.type("exit\n")
    box.wait("READY", 30)


def runs(points, box, admin, slot, what):
    """After a restart; the health check has its say."""
    box.restarted(points, what)
    admin.sign_in()
    limit = time.monotonic() + 240 * patience()
    while (state := admin.ask("GET", UPDATE).body).get("on_trial") and time.monotonic() < limit:
        time.sleep(2)
    pools = [pool["name"] for pool in admin.ask("GET", f"{V1}/pools").body]
    points.point(state["slot"] == slot and state["next"] == slot and not state["on_trial"] and
                 "tank" in pools, f"slot {slot} runs, is kept, and has the data", (state, pools))


def broken(points, box, admin, bundle):
    begun = admin.ask("POST", f"{UPDATE}/bundle", {"name": "broken", "size": len(bundle)})
    half = len(bundle) // 2 // PIECE * PIECE
    admin.send(bundle, begun.body["received_bytes"], half)
    # The line is gone; so is the session.
    admin.sign_in()
    again = admin.ask("POST", f"{UPDATE}/bundle", {"name": "broken", "size": len(bundle)})
    points.point(again.body["received_bytes"] == half, "an upload is gone on with", again)
    done = admin.upload("broken", bundle)
    reply = admin.ask("POST", UPDATE, {})
    state = admin.settled()
    points.point(done.status == 201 and reply.status == 202 and state["next"] == "b" and
                 state["update"]["state"] == "done", "a signed release that can not start",
                 (done, reply, state))
    box.restarted(points, "the boot loader goes back by itself")
    admin.sign_in()
    state = admin.ask("GET", UPDATE).body
    points.point(state["slot"] == "a" and state["failed"] == "b", "and the API says so", state)
    limit = time.monotonic() + 240 * patience()
    while time.monotonic() < limit:
        alerts = json.dumps(admin.ask("GET", f"{V1}/alerts").body)
        if "release-given-up" in alerts:
            break
        time.sleep(2)
    points.point("release-given-up" in alerts, "and an alert", alerts)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        bundles = make_bundles(folder)
        releases = Releases(folder, bundles)
        box = Box(folder, "bios")
        try:
            shown = box.wait("READY", BOOT_LIMIT)
            points.point(shown is not None, "READY", box.seen[-2000:])
            admin = set_up(points, box, shown)
            refused(points, admin, bundles)
            from_url(points, box, admin, releases)
            runs(points, box, admin, "b", "the other slot starts")
            reply = admin.ask("POST", f"{UPDATE}/rollback")
            points.point(reply.status in (200, 202), "somebody wants the release before", reply)
            runs(points, box, admin, "a", "which starts")
            broken(points, box, admin, bundles["broken"])
        finally:
            box.end()
            releases.close()


if __name__ == "__main__":
    tap.run(test)
