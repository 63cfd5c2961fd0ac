#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=150 engines=one asan
"""The web front against the real daemon: confinement, the set-up code, sessions, CSRF, roles on
every route, tokens, rate limits, foreign hosts and origins, hostile HTTP, the audit log."""

import base64
import hmac
import json
import os
import re
import socket
import sqlite3
import ssl
import struct
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
import web  # pylint: disable=wrong-import-position

V1 = "/api/v1"
PASSWORD = "a pass phrase"
ROLES = ["nobody", "viewer", "provisioner", "operator", "admin"]


def confinement(points, front):
    with open(f"/proc/{front.process.pid}/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    points.point(status["Seccomp"] == "2" and status["NoNewPrivs"] == "1" and
                 int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0,
                 "the front has a seccomp filter and no capability", status)
    if os.geteuid() == 0:
        points.point("0" not in status["Uid"].split(), "it is not root", status["Uid"])
    key = os.stat(os.path.join(front.state, "web", "key.pem"))
    points.point(key.st_mode & 0o777 == 0o600, "its key is its owner's alone", oct(key.st_mode))


def set_up(points, daemon, front):
    code = re.search(r"^SETUP code=(\S+)", daemon.log(), re.M)
    points.point(code, "the first start prints a set-up code", daemon.log())
    client = front.client()
    points.point(client.call("GET", f"{V1}/setup").body ==
                 {"needed": True, "signed_in": False},
                 "who is not root is not told the code")
    points.point(client.call("GET", f"{V1}/status").status == 401, "nobody sees nothing")
    body = {"code": "0000-0000-0000", "name": "root", "password": PASSWORD}
    points.point(client.call("POST", f"{V1}/setup", body).status == 403, "a wrong code is refused")
    for change in ({"password": "short"}, {"name": "<b>"}, {"name": ""}):
        reply = client.call("POST", f"{V1}/setup", {**body, "code": code.group(1), **change})
        points.point(reply.status == 400, f"refused: {change}", reply)
    reply = client.call("POST", f"{V1}/setup", {**body, "code": code.group(1).lower()})
    cookie = reply.headers.get("Set-Cookie", "")
    points.point(reply.status == 201 and cookie.startswith("__Host-granary=") and
                 all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=Strict",
                                                 "Path=/")) and "Domain" not in cookie,
                 "the code makes the first account", reply)
    points.point(client.call("POST", f"{V1}/setup", {**body, "code": code.group(1)}).status == 409,
                 "and works once")
    points.point(client.call("GET", f"{V1}/me").body["role"] == "admin", "it is an admin")
    return client


def csrf_and_origin(points, front, admin):
    volume = {"pool": "tank", "name": "w1", "size": "1M"}
    for what, headers, status in (
            ("no CSRF token", {"X-CSRF-Token": ""}, 403),
            ("another session's CSRF token", {"X-CSRF-Token": "A" * 43}, 403),
            ("a foreign origin", {"Origin": "https://evil.example"}, 403),
            ("a foreign fetch", {"Sec-Fetch-Site": "cross-site"}, 403),
            ("a form's content type", {"Content-Type": "text/plain"}, 415),
            ("a rebound name", {"Host": "evil.example:8443"}, 421)):
        reply = admin.call("POST", f"{V1}/volumes", volume, headers=headers)
        points.point(reply.status == status and reply.problem(), f"refused: {what}", reply)
    points.point(admin.call("GET", f"{V1}/volumes").body == [], "and nothing was made")
    reply = admin.call("POST", f"{V1}/volumes", volume,
                       headers={"Origin": f"https://127.0.0.1:{front.port}"})
    points.point(reply.status == 201, "the same from our own page", reply)
    stale = admin.call("PATCH", f"{V1}/volumes/tank/w1", {"size": "2M"},
                       headers={"If-Match": '"0000000000000000"'})
    etag = admin.call("GET", f"{V1}/volumes/tank/w1").headers["ETag"]
    good = admin.call("PATCH", f"{V1}/volumes/tank/w1", {"size": "2M"},
                      headers={"If-Match": etag})
    points.point(stale.status == 412 and good.status == 200, "ETag and If-Match", [stale, good])
    once = [admin.call("POST", f"{V1}/volumes", {**volume, "name": "w2"},
                       headers={"Idempotency-Key": "one"}) for _ in range(2)]
    points.point([reply.status for reply in once] == [201, 201] and once[0].body == once[1].body,
                 "Idempotency-Key", once)
    page = admin.call("GET", f"{V1}/volumes?limit=1")
    link = re.fullmatch(r'<(\S+)>; rel="next"', page.headers.get("Link", ""))
    points.point(link and [volume["name"] for volume in
                           admin.call("GET", link.group(1)).body] == ["w2"],
                 "the Link header leads to the next page", page.headers)


def confirmation(points, front, admin):
    """What can not be undone wants the password again, of a session and not of a token."""
    path = f"{V1}/volumes/tank/nothing"
    first = admin.call("DELETE", path)
    wrong = admin.call("POST", f"{V1}/me/confirm", {"password": "not the phrase"})
    still = admin.call("DELETE", path)
    points.point([first.status, wrong.status, still.status] == [403] * 3 and
                 first.body["code"] == still.body["code"] == "confirm_first",
                 "deleting wants the password again", [first, wrong, still])
    ups = {"host": "127.0.0.1", "ups": "x"}  # its server may say when to power off
    points.point(admin.call("PUT", f"{V1}/ups", ups).body["code"] == "confirm_first",
                 "setting a UPS does too")
    right = admin.call("POST", f"{V1}/me/confirm", {"password": PASSWORD})
    then = admin.call("DELETE", path)
    points.point(right.status == 200 and then.status == 404, "and goes on with it", [right, then])
    token = admin.call("POST", f"{V1}/tokens", {"name": "robot", "role": "provisioner"}).body
    reply = front.client(token=token["token"]).call("DELETE", path)
    points.point(reply.status == 404, "a token is not asked", reply)
    admin.call("DELETE", f"{V1}/tokens/robot")


def code_of(secret, step):
    """RFC 6238 with what Python has."""
    digest = hmac.new(base64.b32decode(secret), struct.pack(">Q", step), "sha1").digest()
    at = digest[19] & 15
    return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 1000000:06d}"


def both(client, method, path, body):
    """What a dry run is told, then what the change is."""
    return [client.call(method, f"{path}{query}", body) for query in ("?dry_run=1", "")]


def own_password(points, daemon, front, admin):
    """One's own password: what a change of it would do, and trying a wrong one is trying one."""
    admin.call("POST", f"{V1}/accounts", {"name": "own", "role": "viewer", "password": PASSWORD})
    clients = [front.client(), front.client()]
    for client in clients:
        client.call("POST", f"{V1}/login", {"name": "own", "password": PASSWORD})
    path, good = f"{V1}/me/password", {"old": PASSWORD, "new": "another pass phrase"}
    would = clients[0].call("POST", f"{path}?dry_run=1", good)
    points.point(would.status == 200 and would.body["what"] == "account own" and
                 would.body["before"] == {"sessions": 2} and
                 would.body["after"] == {"sessions": 1, "password": "another one"} and
                 "phrase" not in str(would.data), "what another password would change", would)
    points.point(clients[1].call("GET", f"{V1}/me").status == 200 and
                 front.client().call("POST", f"{V1}/login", {"name": "own", "password": PASSWORD}).status == 200,
                 "and nothing has: the old one signs in, sessions go on")
    short, wrong = ({**good, "new": "short"}, {**good, "old": "not the phrase"})
    told = [both(clients[0], "POST", path, body) for body in (short, wrong)]
    points.point([reply.status for reply in told[0] + told[1]] == [400] * 2 + [403] * 2 and
                 all(one.body == other.body for one, other in told), "refused in the same words", told)
    noted = [one for one in daemon.good("GET", f"{V1}/audit?limit=100")
             if one["path"] == path and one["who"] == "own"]
    points.point([one.get("code") for one in noted].count("bad_login") == 2 and
                 not [one for one in noted if one["status"] == 200],
                 "a wrong password is in the audit log, also one that was only tried out", noted)
    tries = [clients[0].call("POST", f"{path}?dry_run=1", wrong) for _ in range(8)]
    points.point({reply.status for reply in tries[-2:]} <= {403, 429} and
                 429 in [reply.status for reply in tries], "and who guesses in this way is slowed down, too", tries)
    time.sleep(1 + max(int(reply.headers.get("Retry-After", 0)) for reply in tries))
    front.client().call("POST", f"{V1}/login", {"name": "root", "password": PASSWORD})
    admin.call("DELETE", f"{V1}/accounts/own")


def two_steps(points, front, admin):
    """Two-step sign-in: offered, confirmed, asked for, recovered, turned off."""
    admin.call("POST", f"{V1}/accounts", {"name": "twice", "role": "viewer", "password": PASSWORD})
    sign_in = {"name": "twice", "password": PASSWORD}
    client = front.client()
    client.call("POST", f"{V1}/login", sign_in)
    points.point(client.call("POST", f"{V1}/me/totp", {}).body["code"] == "confirm_first",
                 "two-step sign-in: offered after the password")
    client.call("POST", f"{V1}/me/confirm", {"password": PASSWORD})
    early = both(client, "POST", f"{V1}/me/totp/confirm", {"code": "000000"})
    secret = client.call("POST", f"{V1}/me/totp", {}).body["secret"]
    now = int(time.time()) // 30
    bad = both(client, "POST", f"{V1}/me/totp/confirm", {"code": code_of(secret, now - 9)})
    points.point([reply.status for reply in early + bad] == [409] * 2 + [403] * 2 and
                 early[0].body == early[1].body and bad[0].body == bad[1].body,
                 "a dry run of it is refused in the same words", [early, bad])
    would = client.call("POST", f"{V1}/me/totp/confirm?dry_run=1", {"code": code_of(secret, now)})
    points.point(would.status == 200 and would.body["after"] == {"totp": True, "recovery_codes": 10} and
                 not client.call("GET", f"{V1}/me").body["totp"] and
                 secret not in str(would.data), "it says what will be, and takes nothing of the code", would)
    wrong = client.call("POST", f"{V1}/me/totp/confirm", {"code": code_of(secret, now - 9)})
    points.point(wrong.status == 403 and front.client().call("POST", f"{V1}/login",
                                                             sign_in).status == 200,
                 "an old code does not turn it on", wrong)
    on = client.call("POST", f"{V1}/me/totp/confirm", {"code": code_of(secret, now)})
    points.point(on.status == 200 and len(set(on.body["recovery_codes"])) == 10,
                 "the code of now does", on)
    other = front.client()
    needed = other.call("POST", f"{V1}/login", sign_in)
    points.point(needed.status == 401 and needed.body["code"] == "totp_needed" and
                 not other.cookie, "the password alone signs nobody in any more", needed)
    again = other.call("POST", f"{V1}/login", {**sign_in, "code": code_of(secret, now)})
    points.point(again.status == 401 and again.body["code"] == "bad_totp",
                 "a code works once", again)
    later = other.call("POST", f"{V1}/login", {**sign_in, "code": code_of(secret, now + 1)})
    points.point(later.status == 200 and later.body["totp"], "the next code signs in", later)
    recovery = on.body["recovery_codes"][3]
    replies = [front.client().call("POST", f"{V1}/login",
                                   {**sign_in, "code": code.lower()}).status
               for code in (recovery, recovery)]
    points.point(replies == [200, 401], "a recovery code works once", replies)
    would = client.call("DELETE", f"{V1}/me/totp?dry_run=1")
    points.point(would.status == 200 and would.body["after"] == {"totp": False, "recovery_codes": 0} and
                 would.body["before"] == {"totp": True, "recovery_codes": 9} and
                 client.call("GET", f"{V1}/me").body["totp"], "turning it off is tried out", would)
    reset = admin.call("PATCH", f"{V1}/accounts/twice", {"totp": False})
    points.point(reset.status == 200 and front.client().call("POST", f"{V1}/login",
                                                             sign_in).status == 200,
                 "an administrator turns it off", reset)
    admin.call("DELETE", f"{V1}/accounts/twice")


def certificate(points, folder, daemon, front, admin):
    """Another certificate is used for the next connection, and after a restart."""
    other_state = os.path.join(folder, "other")
    maker = api.Daemon(other_state, pool=False)
    try:
        other = web.Front(other_state)
        other.stop()
    finally:
        maker.stop()
    pem = {}
    for name in ("key", "cert"):
        with open(os.path.join(other_state, "web", f"{name}.pem"), encoding="ascii") as file:
            pem[name] = file.read()
    with open(os.path.join(front.state, "web", "key.pem"), encoding="ascii") as file:
        own_key = file.read()
    with open(os.path.join(front.state, "web", "cert.pem"), encoding="ascii") as file:
        front.first_chain = file.read()
    before = admin.call("GET", f"{V1}/certificate").body
    points.point(before["self_signed"] and before["fingerprint_sha256"] in front.log() and
                 "127.0.0.1" in before["names"], "the certificate is shown", before)
    for what, body in (("another key", {"chain": pem["cert"], "key": own_key}),
                       ("no certificate", {"chain": "hello", "key": pem["key"]}),
                       ("half a chain", {"chain": pem["cert"] + "-----BEGIN CERTIFICATE-----\nA",
                                         "key": pem["key"]}),
                       ("no key", {"chain": pem["cert"], "key": ""})):
        tried_out, reply = both(admin, "PUT", f"{V1}/certificate", body)
        points.point(reply.status == 400 and reply.body["code"] == "bad_certificate" and
                     tried_out.status == 400 and tried_out.body == reply.body,
                     f"refused, tried out or not: {what}", [tried_out, reply])
    would = admin.call("PUT", f"{V1}/certificate?dry_run=1", {"chain": pem["cert"], "key": pem["key"]})
    points.point(would.status == 200 and would.body["what"] == "certificate" and
                 would.body["before"]["fingerprint_sha256"] == before["fingerprint_sha256"] and
                 "PRIVATE" not in str(would.data) and admin.call("GET", f"{V1}/certificate").body == before,
                 "tried out it says which it would be, and stays as it is", would)
    reply = admin.call("PUT", f"{V1}/certificate", {"chain": pem["cert"], "key": pem["key"]})
    points.point(reply.status == 200 and
                 reply.body["fingerprint_sha256"] != before["fingerprint_sha256"] and
                 reply.body["fingerprint_sha256"] == would.body["after"]["fingerprint_sha256"] and
                 "PRIVATE" not in str(reply.data), "it is replaced", reply)
    wanted = ssl.PEM_cert_to_DER_cert(pem["cert"])
    limit = time.monotonic() + 60
    served = None
    while served != wanted and time.monotonic() < limit:
        with socket.create_connection(("127.0.0.1", front.port), timeout=60) as plain:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain) as stream:
                served = stream.getpeercert(binary_form=True)
        time.sleep(0.1)
    points.point(served == wanted, "new connections are served with it")
    points.point(admin.call("GET", f"{V1}/me").status == 200, "and sessions go on")
    key_not_kept(points, daemon, reply.body["fingerprint_sha256"])
    again = web.Front(front.state)
    points.point(reply.body["fingerprint_sha256"] in again.log(), "so they are after a restart",
                 again.log())
    again.stop()
    cut_off(points, front, reply.body["fingerprint_sha256"], before["fingerprint_sha256"])


def key_not_kept(points, daemon, fingerprint):
    """A front with an old certificate is given the new one with an answer, and the answer is kept
    for its Idempotency-Key without it."""
    token = daemon.good("POST", f"{V1}/tokens", {"name": "front", "role": "operator"})["token"]
    message = {"method": "POST", "path": f"{V1}/pools/tank/check", "body": {}, "token": token,
               "idempotency_key": "tls", "address": "127.0.0.1"}
    old = daemon.raw(json.dumps({**message, "certificate": "00:11"}).encode(), "web/web.sock")
    new = daemon.raw(json.dumps({**message, "certificate": fingerprint}).encode(), "web/web.sock")
    points.point("PRIVATE" in old["tls"]["key"] and "tls" not in new and
                 new["body"] == old["body"], "a kept answer holds no private key", new)
    daemon.good("DELETE", f"{V1}/tokens/front")


def cut_off(points, front, newer, older):
    """The machine stopped between the two renames of a replacement: the key is the new one."""
    folder = os.path.join(front.state, "web")
    owner = os.stat(os.path.join(folder, "cert.pem"))
    os.rename(os.path.join(folder, "cert.pem"), os.path.join(folder, "cert.pem.new"))
    with open(os.path.join(folder, "cert.pem"), "w", encoding="ascii") as file:
        file.write(front.first_chain)
    os.chown(os.path.join(folder, "cert.pem"), owner.st_uid, owner.st_gid)
    again = web.Front(front.state)
    points.point(newer in again.log() and older not in again.log() and
                 again.client().call("GET", f"{V1}/setup").status == 200 and
                 not os.path.exists(os.path.join(folder, "cert.pem.new")),
                 "a replacement that was cut off is finished by the next start", again.log())
    again.stop()


def fixation(points, front, admin):
    """A session that a client brings along is never taken over."""
    planted = "B" * 43
    client = front.client(cookie=planted)
    reply = client.call("POST", f"{V1}/login", {"name": "root", "password": PASSWORD})
    points.point(reply.status == 200 and planted not in reply.headers["Set-Cookie"],
                 "signing in makes a new session", reply)
    old = client.cookie
    points.point(client.call("POST", f"{V1}/logout", {}).status == 200 and
                 front.client(cookie=old).call("GET", f"{V1}/me").status == 401,
                 "signing out ends it at the daemon")
    points.point(admin.call("GET", f"{V1}/me").status == 200, "and no other one")


def events(points, daemon, front, admin):
    """What changes is told at once to who listens, and to who comes back with the last id."""
    nobody = front.client().stream()
    points.point(nobody.until(r"^HTTP/1.1 401 "), "nobody hears nothing", nobody.text)
    stream = admin.stream()
    points.point(stream.until(r"Content-Type: text/event-stream.*retry: "), "a stream of events",
                 stream.text)
    started = time.monotonic()
    admin.call("POST", f"{V1}/volumes", {"pool": "tank", "name": "told", "size": "1M"})
    match = stream.until(r"event: change\r?\nid: (\d+)\r?\ndata: (\{[^\n]*\})")
    points.point(match and json.loads(match.group(2))["path"] == f"{V1}/volumes" and
                 time.monotonic() - started < 5, "a change is told at once", stream.text)
    stream.close()
    admin.call("DELETE", f"{V1}/volumes/tank/told")
    again = admin.stream(match.group(1))
    points.point(again.until(r"DELETE.*tank/told"), "Last-Event-ID: what came meanwhile",
                 again.text)
    again.close()
    old = admin.stream(1)
    points.point(old.until(r"event: lost"), "who has missed more than is kept is told so", old.text)
    old.close()
    backlog(points, daemon, admin, again.last_id())
    many = [admin.stream() for _ in range(14)]
    refused = [stream for stream in many if stream.until(r"^HTTP/1.1 503 ", 1)]
    points.point(0 < len(refused) < 14, "streams of one address are bounded", len(refused))
    for stream in many:
        stream.close()
    reply = admin.call("GET", f"{V1}/performance")
    points.point(reply.status == 200 and all(len(sample) == 5 for sample in reply.body["samples"]),
                 "samples of the load", reply)


def backlog(points, daemon, admin, last):
    """More events at once than fit into one answer's text: all of them come."""
    name = "h" * 60
    daemon.good("POST", f"{V1}/hosts", {"name": name})
    for number in range(240):
        change = "remove" if number % 2 else "add"
        daemon.good("PATCH", f"{V1}/hosts/{name}", {change: ["iqn.2026-11.test:a"]})
    daemon.good("DELETE", f"{V1}/hosts/{name}")
    stream = admin.stream(last)
    stream.until(rf'"DELETE","path":"{V1}/hosts/{name}"')
    told = stream.text.count(f'"PATCH","path":"{V1}/hosts/{name}"')
    points.point(told == 240 and "event: lost" not in stream.text,
                 "a long absence loses no event", [told, stream.text[-300:]])
    stream.close()


def make_roles(points, front, admin):
    """A client per role, by session for one and by token for the others."""
    clients = {"nobody": front.client(), "admin": admin}
    reply = admin.call("POST", f"{V1}/accounts", {"name": "eve", "role": "viewer",
                                                  "password": PASSWORD})
    points.point(reply.status == 201, "an account", reply)
    clients["viewer"] = front.client()
    clients["viewer"].call("POST", f"{V1}/login", {"name": "eve", "password": PASSWORD})
    clients["viewer"].call("POST", f"{V1}/me/confirm", {"password": PASSWORD})
    for role in ("provisioner", "operator", "replication"):
        reply = admin.call("POST", f"{V1}/tokens", {"name": f"t-{role}", "role": role})
        clients[role] = front.client(token=reply.body["token"])
    asked = [front.client().call("GET", f"{V1}/me",
                                 headers={"Authorization": f"{scheme} {clients['operator'].token}"})
             for scheme in ("bearer", "BEARER", "Basic")]
    points.point([one.status for one in asked] == [200, 200, 401] and
                 asked[0].body["name"] == "token:t-operator",
                 "a scheme is whatever its case (RFC 9110 11.1), and no other", asked)
    listed = json.dumps(admin.call("GET", f"{V1}/tokens").body)
    points.point("gry_" not in listed and "hash" not in listed, "a token is shown once", listed)
    return clients


BAD = [{"__proto__": 1}, {"name": {"a": [1]}}, {"size": 1e400}, {"devices": "x", "iqn": 5}]


def shown(admin):
    """All there is to change; checkpoints count by themselves."""
    lists = [admin.call("GET", f"{V1}/{what}").body
             for what in ("volumes", "targets", "pools", "accounts", "tokens")]
    for pool in lists[2]:
        del pool["generation"]
    return lists


def walk(points, admin, clients):
    """Every route, every role, and input that is wrong: the right refusal, nothing changed."""
    routes = admin.call("GET", f"{V1}/routes").body
    before = shown(admin)
    wrong = []
    for route in routes:
        path = re.sub(r"{\w+}", "nothing", route["path"])
        for role, client in clients.items():
            enough = route["replication"] if role == "replication" else \
                ROLES.index(role) >= ROLES.index(route["role"])
            if route["path"] in (f"{V1}/logout", f"{V1}/login", f"{V1}/setup") and \
                    route["method"] == "POST":
                continue
            if route["method"] == "GET":
                reply = client.call("GET", path)
                expected = {200, 404} if enough else {401} if role == "nobody" else {403}
                if reply.status not in expected:
                    wrong.append((route["method"], path, role, reply))
                continue
            for body in BAD if enough else BAD[:1]:
                text = json.dumps(body).replace("Infinity", "1e400")
                reply = client.call(route["method"], path, raw=text.encode())
                expected = {400, 404} if enough else {400, 401} if role == "nobody" else {403}
                if reply.status not in expected or not reply.problem():
                    wrong.append((route["method"], path, role, text, reply))
    mine = {(route["method"], route["path"].removeprefix(V1)) for route in routes
            if route["replication"] and route["method"] != "GET"}
    points.point(mine == {("POST", "/setup"), ("POST", "/login"), ("POST", "/logout"),
                          ("POST", "/me/password"), ("POST", "/me/confirm"), ("POST", "/me/totp"),
                          ("POST", "/me/totp/confirm"), ("DELETE", "/me/totp"),
                          ("POST", "/replica/groups"), ("POST", "/replica/groups/{group}"),
                          ("PATCH", "/replica/groups/{group}")},
                 "the role replication changes groups, its own account, and nothing else", mine)
    points.point(len(routes) > 40 and not wrong, f"{len(routes)} routes, every role, bad input",
                 wrong[:6])
    after = shown(admin)
    points.point(before == after, "and nothing was changed", [before, after])


def hostile(points, front, admin):
    big = admin.call("POST", f"{V1}/volumes", raw=b'{"a":"' + b"x" * (2 << 20) + b'"}')
    points.point(big.status == 413, "a body of 2 MiB is refused", big)
    deep = admin.call("POST", f"{V1}/volumes", raw=b'{"a":' * 64 + b"1" + b"}" * 64)
    points.point(deep.status == 400 and deep.body["code"] == "bad_json", "depth is refused", deep)
    twice = admin.call("POST", f"{V1}/volumes", raw=b'{"name":"a","name":"b"}')
    points.point(twice.status == 400, "duplicate members are refused", twice)
    for path in ("/../../etc/passwd", "/..%2f..%2fetc/passwd", "/web/key.pem", "/app-x.js",
                 f"{V1}/pools/..%2F..%2Fetc", f"{V1}/pools/%00", f"{V1}/pools/a%0d%0aX:1"):
        reply = admin.call("GET", path)
        points.point(reply.status == 404, f"GET {path} finds nothing", reply)
    injected = admin.call("GET", f"{V1}/volumes?limit=1&cursor=%0d%0aX-Evil:1")
    points.point("X-Evil" not in injected.headers, "no header is injected", injected.headers)
    for method in ("TRACE", "CONNECT", "BREW"):
        reply = admin.call(method, f"{V1}/volumes")
        points.point(reply.status == 405, f"{method} is refused", reply)
    reply = front.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 65536 + b"\r\n\r\n")
    points.point(b" 431 " in reply[:40] or b" 413 " in reply[:40] or reply == b"",
                 "headers of 64 KiB are refused", reply[:200])
    reply = admin.call("GET", "/")
    policy = reply.headers.get("Content-Security-Policy", "")
    points.point(reply.status == 200 and "default-src 'none'" in policy and
                 "unsafe" not in policy and reply.headers["X-Content-Type-Options"] == "nosniff",
                 "the page has its security headers", reply.headers)
    slow = front.connect()
    slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    started, ended = time.monotonic(), None
    while ended is None and time.monotonic() - started < 40:
        try:
            slow.sendall(b"X-A: b\r\n")
            slow.settimeout(1)
            if slow.recv(1) == b"":
                ended = time.monotonic() - started
        except (socket.timeout, TimeoutError):
            continue
        except OSError:
            ended = time.monotonic() - started
    slow.close()
    points.point(ended is not None and ended < 25, "headers that drip are cut off", ended)


def tried(client, body):
    """Signs in until it is told to wait: each time for longer, so that a slow machine hears it too."""
    replies = []
    while len(replies) < 12 and (not replies or replies[-1].status != 429):
        replies.append(client.call("POST", f"{V1}/login", body))
    return replies


def rate_limit(points, front, admin):
    client = front.client()
    replies = tried(client, {"name": "root", "password": "wrong" * 3})
    points.point([reply.status for reply in replies[:3]] == [401] * 3 and
                 replies[-1].status == 429 and int(replies[-1].headers["Retry-After"]) >= 1,
                 "failed sign-ins are slowed down", replies)
    points.point(admin.call("GET", f"{V1}/me").status == 200, "sessions go on")
    time.sleep(int(replies[-1].headers["Retry-After"]) + 1)
    reply = client.call("POST", f"{V1}/login", {"name": "root", "password": PASSWORD})
    points.point(reply.status == 200, "the right password after the wait", reply)
    for what, change in (("a password of 300 bytes", {"password": "x" * 300}),
                         ("a name of 70 bytes", {"name": "\u91cd" * 23 + "x"})):
        body = {"name": "nobody-" + what[-9:], "password": "y" * 20, **change}
        replies = tried(front.client(), body)
        points.point(replies[0].status == 401 and replies[-1].status == 429,
                     f"so are those with {what}", replies)
        time.sleep(int(replies[-1].headers["Retry-After"]) + 1)
        front.client().call("POST", f"{V1}/login", {"name": "root", "password": PASSWORD})


def noise(points, front, admin):
    """Who has not signed in does not fill the audit log, but with tries to sign in."""
    newest = admin.call("GET", f"{V1}/audit?limit=1").body[0]["id"]
    client = front.client()
    for method, path, body in (("POST", "volumes", {"pool": "tank", "name": "n", "size": "1M"}),
                               ("DELETE", "volumes/tank/n", {}), ("POST", "login", {"x": 1}),
                               ("POST", "setup", {"code": "0", "name": "a", "password": "b" * 12})):
        client.call(method, f"{V1}/{path}", body)
    told = [[entry["path"], entry["code"]]
            for entry in admin.call("GET", f"{V1}/audit?after={newest}").body]
    points.point(not told, "what is refused to nobody is not written down", told)
    client.call("POST", f"{V1}/login", {"name": "\u91cd" * 23, "password": "z" * 20})
    told = [[entry["path"], entry["code"]]
            for entry in admin.call("GET", f"{V1}/audit?after={newest}").body]
    points.point(told == [[f"{V1}/login", "bad_login"]], "a try to sign in is", told)


def accounts(points, front, admin, clients):
    reply = admin.call("DELETE", f"{V1}/accounts/root")
    points.point(reply.status == 409 and reply.body["code"] == "last_admin",
                 "the last admin stays", reply)
    viewer = clients["viewer"]
    reply = viewer.call("POST", f"{V1}/me/password", {"old": PASSWORD, "new": "another phrase"})
    points.point(reply.status == 200, "one's own password", reply)
    admin.call("PATCH", f"{V1}/accounts/eve", {"role": "operator"})
    points.point(viewer.call("GET", f"{V1}/me").status == 401, "a new role ends the sessions")
    admin.call("DELETE", f"{V1}/tokens/t-operator")
    points.point(clients["operator"].call("GET", f"{V1}/me").status == 401,
                 "a deleted token is worth nothing")
    path = os.path.join(front.state, "access.db")
    with open(path, "rb") as file:
        data = file.read()
    if os.path.exists(path + "-wal"):
        with open(path + "-wal", "rb") as file:
            data += file.read()
    points.point(PASSWORD.encode() not in data and b"gry_" not in data,
                 "no password and no token is on the disk")


def audit(points, daemon, admin):
    entries = admin.call("GET", f"{V1}/audit?limit=1000").body  # the newest
    while entries[-1]["id"] > 1 and \
            (older := admin.call("GET", f"{V1}/audit?after={max(0, entries[-1]['id'] - 1001)}"
                                        "&limit=1000").body):
        entries += [one for one in reversed(older) if one["id"] < entries[-1]["id"]]
    text = json.dumps(entries)
    points.point(PASSWORD not in text and any(entry["code"] == "bad_login" for entry in entries) and
                 any(entry["path"] == f"{V1}/volumes" and entry["who"] == "root" and
                     entry["address"] == "127.0.0.1" and entry["status"] == 201
                     for entry in entries), "the audit log tells who did what", text[:1500])
    check = admin.call("GET", f"{V1}/audit/check").body
    points.point(check["whole"] and check["entries"] >= len(entries), "its chain holds", check)
    exported = daemon.granary("audit", "export").stdout.splitlines()
    points.point([json.loads(line)["id"] for line in exported] ==
                 list(range(1, len(exported) + 1)) and len(exported) >= len(entries),
                 "granary audit export", exported[:3])
    holder = sqlite3.connect(os.path.join(daemon.state, "access.db"), isolation_level=None)
    for statement in ("update audit set who = 'nobody' where id = 2",
                      "delete from audit where id = 2"):
        try:
            holder.execute(statement)
            points.point(False, f"the database refuses: {statement}")
        except sqlite3.IntegrityError:
            points.point(True, f"the database refuses: {statement}")
    holder.execute("drop trigger audit_stays")
    holder.execute("drop trigger audit_keeps")
    holder.execute("create temp table kept as select * from audit")
    for what, statement, at in (
            ("a forged entry", "update audit set who = 'nobody' where id = 2", 2),
            ("a removed one", "delete from audit where id = 3", 4),
            ("the newest gone", "delete from audit where id = (select max(id) from audit)", None),
            ("the oldest gone", "delete from audit where id < 5", 5),
            ("all of them gone", "delete from audit", 1)):
        holder.execute(statement)
        check = admin.call("GET", f"{V1}/audit/check").body
        points.point(not check["whole"] and check["broken_at"] and
                     check["broken_at"] == (at or check["broken_at"]), f"found: {what}", check)
        holder.execute("delete from audit")
        holder.execute("insert into audit select * from kept")
    check = admin.call("GET", f"{V1}/audit/check").body
    points.point(check["whole"], "and the log as it was is whole", check)
    holder.close()


def without_daemon(points, folder):
    """The front tells when the daemon is away, and serves again when it is back."""
    state = os.path.join(folder, "away")
    daemon = api.Daemon(state, pool=False)
    front = web.Front(state)
    try:
        daemon.stop()
        reply = front.client().call("GET", f"{V1}/setup")
        points.point(reply.status == 503 and reply.body["code"] == "no_daemon",
                     "without the daemon there is a clear answer", reply)
        daemon = api.Daemon(state, pool=False)
        points.point(front.client().call("GET", f"{V1}/setup").status == 200,
                     "and with it again an answer")
    finally:
        points.point(front.stop() == 0, "the front stops cleanly", front.log())
        daemon.stop()


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "state")
        daemon = api.Daemon(state)
        front = None
        try:
            front = web.Front(state)
            confinement(points, front)
            admin = set_up(points, daemon, front)
            csrf_and_origin(points, front, admin)
            confirmation(points, front, admin)
            two_steps(points, front, admin)
            own_password(points, daemon, front, admin)
            certificate(points, folder, daemon, front, admin)
            fixation(points, front, admin)
            events(points, daemon, front, admin)
            clients = make_roles(points, front, admin)
            walk(points, admin, clients)
            hostile(points, front, admin)
            rate_limit(points, front, admin)
            noise(points, front, admin)
            accounts(points, front, admin, clients)
            audit(points, daemon, admin)
            points.point(front.stop() == 0, "the front stops cleanly", front.log())
        finally:
            if front:
                front.stop()
            status = daemon.stop()
        points.point(status == 0, "so does the daemon", daemon.log()[-2000:])
        without_daemon(points, folder)


if __name__ == "__main__":
    tap.run(test)
