#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=180 engines=one asan waits
"""Alerts through the daemon: a rule fires once and clears once, what is acknowledged or silenced
says no more, states last over kill -9; delivery to servers of the test's own: webhooks of each kind,
mail over STARTTLS and TLS, syslog; what fails is tried again; secrets are kept sealed."""

import base64
import email
import email.policy
import hashlib
import hmac
import http.server
import json
import os
import re
import signal
import socket
import socketserver
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
import web  # pylint: disable=wrong-import-position

V1 = "/api/v1"
IQN = "iqn.2026-11.test:alerts"
SECRET = "a secret of the test's"
HOOK = "/hook/wordless-path-that-is-a-password"


def wait_for(look, seconds=60):
    """What look() gives as soon as it is true; its last answer when it never is."""
    limit = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < limit:
        time.sleep(0.05)
    return found


class Hooks(http.server.ThreadingHTTPServer):
    """A webhook's server: keeps what came, answers what it is told to."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.got = []
        self.answers = {}  # path: [(status, text)], the last stays
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # pylint: disable=invalid-name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            path = urllib.parse.urlsplit(self.path).path
            self.server.got.append({"path": path, "url": self.path, "raw": body,
                                    "headers": dict(self.headers), "at": time.monotonic(),
                                    "body": json.loads(body)})
            planned = self.server.answers.get(path, [(200, "ok")])
            status, text = planned[0] if len(planned) == 1 else planned.pop(0)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/else")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *words):  # pylint: disable=arguments-differ
            pass

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def of(self, path):
        return [one for one in self.got if one["path"] == path]

    def events(self, path):
        return [(one["body"]["event"], one["body"].get("rule")) for one in self.of(path)]


class Mail(socketserver.ThreadingTCPServer):
    """As much of a mail server as RFC 5321 asks for: EHLO, STARTTLS, AUTH, one message."""
    daemon_threads = True

    def __init__(self, context, wrapped):
        super().__init__(("127.0.0.1", 0), self.Session)
        self.context = context
        self.wrapped = wrapped
        self.offers_tls = True
        self.got = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Session(socketserver.BaseRequestHandler):
        def say(self, line):
            self.request.sendall(line.encode() + b"\r\n")

        def secure(self):
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
            self.file = self.request.makefile("rb")
            self.tls = True

        def setup(self):
            self.tls = False
            self.file = self.request.makefile("rb")
            self.seen = {"to": [], "login": "", "from": ""}

        def handle(self):
            try:
                if self.server.wrapped:
                    self.secure()
                self.say("220 test")
                while line := self.file.readline():
                    if not self.answer(line.decode().rstrip("\r\n")):
                        return
            except (OSError, ssl.SSLError):
                pass

        def answer(self, line):
            word = line.split()[0].upper()
            if word == "EHLO":
                more = [] if self.tls or not self.server.offers_tls else ["STARTTLS"]
                words = ["test"] + more + (["AUTH PLAIN"] if self.tls else [])
                for at, one in enumerate(words):
                    self.say(f"250{' ' if at + 1 == len(words) else '-'}{one}")
            elif word == "STARTTLS":
                self.say("220 go")
                self.secure()
            elif word == "AUTH":
                given = line.split()[2] if len(line.split()) > 2 else ""
                if not given:
                    self.say("334 ")
                    given = self.file.readline().decode().strip()
                self.seen["login"] = base64.b64decode(given).decode()
                self.say("235 in")
            elif word == "MAIL":
                self.seen["from"] = line
                self.say("250 ok")
            elif word == "RCPT":
                self.seen["to"].append(line)
                self.say("250 ok")
            elif word == "DATA":
                self.say("354 go")
                data = b""
                while not data.endswith(b"\r\n.\r\n"):
                    data += self.file.readline()
                self.server.got.append({**self.seen, "tls": self.tls, "data": data[:-3]})
                self.say("250 taken")
            else:
                self.say("221 bye")
                return word != "QUIT"
            return True


def certificate(folder):
    """Key and certificate for 127.0.0.1: a web front makes itself a pair."""
    maker = api.Daemon(os.path.join(folder, "maker"), pool=False)
    try:
        web.Front(maker.state).stop()
    finally:
        maker.stop()
    place = os.path.join(maker.state, "web")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(place, "cert.pem"), os.path.join(place, "key.pem"))
    return context, os.path.join(place, "cert.pem")


def alerts(daemon, more=""):
    return daemon.good("GET", f"{V1}/alerts{more}")


def of_rule(daemon, rule, more=""):
    return [one for one in alerts(daemon, more) if one["rule"] == rule]


def fill(daemon, full):
    """The watermark that makes the pool's first alert come, or go."""
    marks = "1,98,99" if full else "97,98,99"
    daemon.good("PATCH", f"{V1}/pools/tank", {"watermarks": marks})


def use_space(daemon):
    """A LUN with data that takes more than a percent of the pool."""
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "data", "size": "256M"})
    daemon.good("POST", f"{V1}/targets", {"iqn": IQN})
    daemon.good("POST", f"{V1}/targets/{IQN}/rules", {})
    daemon.good("POST", f"{V1}/targets/{IQN}/luns", {"pool": "tank", "volume": "data"})
    subprocess.run(["qemu-io", "--image-opts", "-c", "write -P 7 0 64M",
                    f"driver=iscsi,transport=tcp,portal=127.0.0.1:{daemon.port},target={IQN},lun=0"],
                   check=True, timeout=60, stdin=subprocess.DEVNULL, capture_output=True)


def fires_and_clears(points, daemon, hooks):
    reply = daemon.good("POST", f"{V1}/alert-channels",
                        {"name": "hook", "kind": "webhook", "url": hooks.url(HOOK),
                         "secret": SECRET})
    points.point(reply["place"] == hooks.url("") and reply["has_secret"] and
                 "wordless" not in json.dumps(reply) and SECRET not in json.dumps(reply),
                 "a webhook is made; its path and its secret are not shown", reply)
    fill(daemon, True)
    fired = wait_for(lambda: hooks.of(HOOK))
    alert = of_rule(daemon, "pool-filling")
    points.point(len(alert) == 1 and alert[0]["state"] == "firing" and
                 alert[0]["object"] == "tank" and alert[0]["value"] >= 1 and
                 "tank" in alert[0]["text"] and "tank" in alert[0]["text_zh"] and
                 alert[0]["todo"] and alert[0]["todo_zh"], "a pool fills up: it fires", alert)
    body = fired[0]["body"] if fired else {}
    points.point(body.get("event") == "alert.fired" and body["rule"] == "pool-filling" and
                 body["id"] == alert[0]["id"] and body["severity"] == "warning" and
                 body["text"] == alert[0]["text"], "and is told", body)
    signed = fired[0]["headers"].get("X-Granary-Signature")
    points.point(signed == "sha256=" + hmac.new(SECRET.encode(), fired[0]["raw"],
                                                hashlib.sha256).hexdigest(),
                 "the message is signed", signed)
    time.sleep(2.5)
    points.point(len(hooks.of(HOOK)) == 1, "once", hooks.events(HOOK))
    daemon.good("PATCH", f"{V1}/alert-rules/pool-filling", {"clear": "1s"})
    fill(daemon, False)
    wait_for(lambda: len(hooks.of(HOOK)) > 1)
    time.sleep(1.5)
    past = of_rule(daemon, "pool-filling", "?all=1")
    points.point(hooks.events(HOOK) == [("alert.fired", "pool-filling"),
                                        ("alert.cleared", "pool-filling")] and
                 not of_rule(daemon, "pool-filling") and past[0]["state"] == "cleared",
                 "it clears, and is told once", (hooks.events(HOOK), past))
    listed = daemon.granary("alert", "list", "--all").stdout
    points.point("cleared" in listed and "Pool tank fills up" in listed, "the command lists it",
                 listed)
    chinese = daemon.granary_in("zh_CN.UTF-8", "alert", "list", "--all").stdout
    points.point("存储池 tank 空间渐满" in chinese, "in Chinese too", chinese)


def ack_and_silence(points, daemon, hooks):
    before = len(hooks.of(HOOK))
    words = daemon.granary("alert", "silence", "pool-filling", "tank", "--for", "1h")
    number = re.search(r"--end (\d+)", words.stdout)
    fill(daemon, True)
    alert = wait_for(lambda: of_rule(daemon, "pool-filling"))
    time.sleep(1.5)
    points.point(alert and alert[0]["state"] == "silenced" and len(hooks.of(HOOK)) == before,
                 "what is silenced fires and says nothing", (words, alert))
    fill(daemon, False)
    wait_for(lambda: not of_rule(daemon, "pool-filling"))
    time.sleep(1.2)
    points.point(len(hooks.of(HOOK)) == before, "nor that it has cleared", hooks.events(HOOK))
    fill(daemon, True)
    wait_for(lambda: of_rule(daemon, "pool-filling"))
    points.point(number and daemon.granary("alert", "silence", "--end",
                                           number.group(1)).returncode == 0, "a silence is ended")
    wait_for(lambda: len(hooks.of(HOOK)) > before)
    points.point(hooks.events(HOOK)[before:] == [("alert.fired", "pool-filling")],
                 "what still fires then is told", hooks.events(HOOK)[before:])
    number = of_rule(daemon, "pool-filling")[0]["id"]
    done = daemon.granary("alert", "ack", str(number))
    alert = of_rule(daemon, "pool-filling")[0]
    points.point(done.returncode == 0 and alert["state"] == "acknowledged" and
                 alert["acknowledged_by"].startswith("local:"), "it is acknowledged", alert)
    again = daemon.call("POST", f"{V1}/alerts/{number}/ack")
    points.point(again["status"] == 409 and
                 again["body"]["code"] == "alert_acknowledged", "once", again)
    return number


def stored_as_acknowledged(state, number):
    with sqlite3.connect(f"file:{state}/config.db?mode=ro", uri=True) as store:
        return store.execute("select 1 from alert where id = ? and acked_by is not null"
                             " and acked_by <> ''", (number,)).fetchone()


def over_kill(points, folder, daemon, hooks, number):
    """After kill -9: the same alert, acknowledged, and nothing said of it again."""
    wait_for(lambda: stored_as_acknowledged(daemon.state, number) and
             not daemon.good("GET", f"{V1}/alert-channels/hook")["queued"])
    before = len(hooks.of(HOOK))
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    again = Daemon(os.path.join(folder, "state"), pool=False)
    alert = wait_for(lambda: of_rule(again, "pool-filling"))
    time.sleep(2)
    points.point([one["id"] for one in alert] == [number] and
                 alert[0]["state"] == "acknowledged" and len(hooks.of(HOOK)) == before,
                 "after kill -9 it is as it was, and not told again",
                 (alert, hooks.events(HOOK)[before:]))
    rules = {one["rule"]: one for one in again.good("GET", f"{V1}/alert-rules")}
    points.point(rules["pool-filling"]["clear_seconds"] == 1, "rules keep what was changed", rules)
    fill(again, False)
    wait_for(lambda: len(hooks.of(HOOK)) > before)
    points.point(hooks.events(HOOK)[before:] == [("alert.cleared", "pool-filling")],
                 "and that it clears is told", hooks.events(HOOK)[before:])
    return again


def retries(points, daemon, hooks):
    """Two refusals, then it is taken; meanwhile the channel itself is an alert for the other one."""
    daemon.good("POST", f"{V1}/alert-channels",
                {"name": "late", "kind": "webhook", "url": hooks.url("/late")})
    daemon.good("PATCH", f"{V1}/alert-rules/channel-failing", {"level": 1})
    hooks.answers["/late"] = [(500, ""), (302, ""), (200, "ok")]
    before = len(hooks.of(HOOK))
    fill(daemon, True)
    wait_for(lambda: len(hooks.of("/late")) == 3)
    got = hooks.of("/late")
    points.point(len(got) == 3 and {one["body"]["rule"] for one in got} == {"pool-filling"} and
                 got[1]["at"] - got[0]["at"] > 1.5 and not hooks.of("/else"),
                 "what is refused is tried again, later and later; redirects are not followed",
                 hooks.events("/late"))
    wait_for(lambda: ("alert.cleared", "channel-failing") in hooks.events(HOOK)[before:])
    told = hooks.events(HOOK)[before:]
    points.point(("alert.fired", "channel-failing") in told and
                 ("alert.cleared", "channel-failing") in told and
                 "channel-failing" not in str(hooks.events("/late")),
                 "the other channel hears that this one fails, and that it works again", told)
    fill(daemon, False)
    wait_for(lambda: len(hooks.of("/late")) == 4)
    points.point(hooks.events("/late")[-1] == ("alert.cleared", "pool-filling"),
                 "it clears there too", hooks.events("/late"))
    hooks.answers["/late"] = [(500, "")]
    fill(daemon, True)
    wait_for(lambda: len(hooks.of("/late")) == 5)
    daemon.good("PATCH", f"{V1}/alert-channels/late", {"enabled": False})
    wait_for(lambda: not daemon.good("GET", f"{V1}/alert-channels/late")["queued"])
    off = daemon.good("GET", f"{V1}/alert-channels/late")
    sent = len(hooks.of("/late"))
    time.sleep(2.5)
    points.point(not off["queued"] and not off["failures"] and 5 <= sent == len(hooks.of("/late")),
                 "what waited for a channel that is turned off is not sent", (off, sent))
    daemon.good("DELETE", f"{V1}/alert-channels/late")
    fill(daemon, False)
    wait_for(lambda: not of_rule(daemon, "pool-filling"))


def presets(points, daemon, hooks):
    wanted = {"dingtalk": ('{"errcode":0}', '{"errcode":310000}'),
              "wecom": ('{"errcode":0}', '{"errcode":93000}'),
              "feishu": ('{"code":0}', '{"code":19021}'), "slack": ("ok", None)}
    for preset, (good, bad) in wanted.items():
        path = "/" + preset
        daemon.good("POST", f"{V1}/alert-channels",
                    {"name": preset, "kind": "webhook", "preset": preset, "language": "zh-CN",
                     "secret": SECRET, "url": hooks.url(path + "?access_token=abc")})
        hooks.answers[path] = [(200, good)]
        reply = daemon.call("POST", f"{V1}/alert-channels/{preset}/test")
        one = hooks.of(path)[0]
        text = json.dumps(one["body"], ensure_ascii=False)
        points.point(reply["status"] == 200 and "测试" in text, f"{preset}: a test is taken", reply)
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(one["url"]).query))
        if preset == "dingtalk":
            sign = hmac.new(SECRET.encode(), f"{query['timestamp']}\n{SECRET}".encode(),
                            hashlib.sha256).digest()
            points.point(one["body"]["msgtype"] == "text" and len(query["timestamp"]) == 13 and
                         query["sign"] == base64.b64encode(sign).decode() and
                         query["access_token"] == "abc", "signed in its query", query)
        if preset == "feishu":
            sign = hmac.new(f"{one['body']['timestamp']}\n{SECRET}".encode(), b"",
                            hashlib.sha256).digest()
            points.point(one["body"]["sign"] == base64.b64encode(sign).decode(),
                         "signed in its body", one["body"])
        if bad:
            hooks.answers[path] = [(200, bad)]
            reply = daemon.call("POST", f"{V1}/alert-channels/{preset}/test")
            points.point(reply["status"] == 409 and reply["body"]["code"] == "not_delivered",
                         "a refusal with status 200 is one", reply)
        daemon.good("DELETE", f"{V1}/alert-channels/{preset}")


def long_answer(points, daemon, hooks):
    hooks.answers["/long"] = [(200, "x" * 300000)]
    daemon.good("POST", f"{V1}/alert-channels",
                {"name": "long", "kind": "webhook", "url": hooks.url("/long")})
    reply = daemon.call("POST", f"{V1}/alert-channels/long/test")
    points.point(reply["status"] == 200 and len(hooks.of("/long")) == 1,
                 "a long answer is an answer", reply)
    daemon.good("DELETE", f"{V1}/alert-channels/long")


def mails_of(server):
    return [email.message_from_bytes(one["data"], policy=email.policy.default)
            for one in server.got]


def mail(points, daemon, context, ca):
    with open(ca, encoding="ascii") as file:
        pem = file.read()
    start, wrapped = Mail(context, False), Mail(context, True)
    base = {"kind": "email", "from": "granary@example.org", "user": "me", "secret": SECRET,
            "to": ["ops@example.org", "night@example.org"]}
    for name, server, scheme in (("starttls", start, "smtp"), ("tls", wrapped, "smtps")):
        url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        daemon.good("POST", f"{V1}/alert-channels", {**base, "name": name, "url": url})
        reply = daemon.call("POST", f"{V1}/alert-channels/{name}/test")
        points.point(reply["status"] == 409 and not server.got,
                     f"{name}: a certificate that nobody vouches for is refused", reply)
        daemon.good("PATCH", f"{V1}/alert-channels/{name}", {"ca": pem, "language": "zh-CN"})
        reply = daemon.call("POST", f"{V1}/alert-channels/{name}/test")
        points.point(reply["status"] == 200 and len(server.got) == 1, "its own is taken", reply)
        got = server.got[0] if server.got else {"tls": 0, "login": "", "to": [], "data": b""}
        told = email.message_from_bytes(got["data"], policy=email.policy.default)
        points.point(got["tls"] and got["login"] == f"\0me\0{SECRET}" and len(got["to"]) == 2 and
                     "<granary@example.org>" in got["from"], "signed in, to both", got)
        points.point("测试" in str(told["Subject"]) and "测试" in told.get_content() and
                     told["Auto-Submitted"] == "auto-generated" and told["Date"] and
                     told["Message-ID"], "the mail is well made", got["data"].decode())
    with open(daemon.state + ".ca", "w", encoding="ascii") as file:
        file.write(pem + "#" * 16384)
    done = daemon.granary("alert", "channel", "set", "tls", "--ca-file", daemon.state + ".ca")
    points.point(done.returncode and "16 KiB" in done.stderr, "too long a file of them is refused",
                 done)
    start.offers_tls = False
    reply = daemon.call("POST", f"{V1}/alert-channels/starttls/test")
    points.point(reply["status"] == 409 and len(start.got) == 1,
                 "a server without TLS is told nothing", reply)
    fill(daemon, True)
    # That the other server refuses is an alert too, which comes by this one when it likes.
    told = wait_for(lambda: [mail for mail in mails_of(wrapped) if "空间渐满" in mail["Subject"]])
    points.point(len(told) == 1 and "fstrim" in told[0].get_content(),
                 "an alert by mail says what to do", [str(mail) for mail in mails_of(wrapped)])
    fill(daemon, False)
    wait_for(lambda: not of_rule(daemon, "pool-filling"))
    for name in ("starttls", "tls"):
        daemon.good("DELETE", f"{V1}/alert-channels/{name}")
    daemon.good("POST", f"{V1}/alert-channels",
                {"name": "plain", "kind": "email", "from": "a@b.c", "to": ["d@e.f"],
                 "url": "smtp://127.0.0.1", "tls": False})
    done = daemon.granary("alert", "channel", "set", "plain", "--tls")
    points.point(daemon.good("GET", f"{V1}/alert-channels/plain")["tls"], "TLS is turned on", done)
    daemon.good("DELETE", f"{V1}/alert-channels/plain")


def syslog(points, daemon):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(60)
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        tcp.settimeout(60)
        for name, server in (("udp", udp), ("tcp", tcp)):
            daemon.good("POST", f"{V1}/alert-channels",
                        {"name": name, "kind": "syslog",
                         "url": f"{name}://127.0.0.1:{server.getsockname()[1]}"})
            reply = daemon.call("POST", f"{V1}/alert-channels/{name}/test")
            if name == "udp":
                line = udp.recv(4096).decode()
            else:
                with tcp.accept()[0] as stream:
                    line = b"".join(iter(lambda s=stream: s.recv(4096), b"")).decode()
                length, line = line.split(" ", 1)
                points.point(int(length) == len(line.encode()), "framed by its length", length)
            points.point(reply["status"] == 200 and
                         re.match(r"<29>1 \d{4}-\d\d-\d\dT\S+Z \S+ granary - test - \ufeff", line),
                         f"syslog over {name}", (reply, line))
            daemon.good("DELETE", f"{V1}/alert-channels/{name}")
        named = {"localhost": 200, "no-such-host.invalid": 409}
        for host, status in named.items():
            daemon.good("POST", f"{V1}/alert-channels",
                        {"name": "named", "kind": "syslog",
                         "url": f"udp://{host}:{udp.getsockname()[1]}"})
            reply = daemon.call("POST", f"{V1}/alert-channels/named/test")
            points.point(reply["status"] == status, f"syslog to {host}", reply)
            daemon.good("DELETE", f"{V1}/alert-channels/named")


def refusals(points, daemon, hooks):
    channel = {"name": "bad", "kind": "webhook", "url": hooks.url("/x")}
    mails = {"name": "bad", "kind": "email", "url": "smtp://127.0.0.1:25", "from": "a@b.c",
             "to": ["d@e.f"]}
    wrong = [{**channel, "url": "file:///etc/passwd"}, {**channel, "url": "gopher://x/"},
             {**channel, "url": "http://me:secret@127.0.0.1/"}, {**channel, "url": "http://"},
             {**channel, "url": "http://a\r\nb/"}, {**channel, "kind": "pigeon"},
             {**channel, "preset": "telex"}, {**channel, "name": "a b"},
             {**channel, "severity": "bad"}, {**channel, "url": "http://" + "a" * 300},
             {**mails, "from": "a@b.c>\r\nRCPT TO:<x@y.z"}, {**mails, "to": []},
             {**mails, "to": ["no address"]}, {**mails, "tls": False, "user": "a", "secret": "b"},
             {**mails, "url": "http://127.0.0.1"}, {**mails, "user": "a"},
             {"name": "bad", "kind": "syslog", "url": "udp://127.0.0.1"}]
    replies = [daemon.call("POST", f"{V1}/alert-channels", body) for body in wrong]
    points.point(all(reply["status"] == 400 for reply in replies),
                 "channels that could do harm or nothing are refused",
                 [(body, reply["status"]) for body, reply in zip(wrong, replies)
                  if reply["status"] != 400])
    for address in ("169.254.169.254", "0.0.0.0", "[fe80::1]", "[::ffff:169.254.169.254]"):
        daemon.good("POST", f"{V1}/alert-channels",
                    {"name": "meta", "kind": "webhook", "url": f"http://{address}/latest"})
        reply = daemon.call("POST", f"{V1}/alert-channels/meta/test")
        points.point(reply["status"] == 409 and "link-local" in reply["body"]["detail"],
                     f"nothing is sent to {address}", reply)
        daemon.good("DELETE", f"{V1}/alert-channels/meta")
    reply = daemon.call("PATCH", f"{V1}/alert-channels/hook", {"url": "http://127.0.0.1:9/x"})
    points.point(reply["status"] == 400 and "again" in reply["body"]["detail"],
                 "a secret does not follow its channel elsewhere", reply)
    for method, path, body in (("PATCH", "alert-rules/nonsense", {}),
                               ("DELETE", "alert-silences/99", None),
                               ("POST", "alerts/99999/ack", {}), ("GET", "alerts/x", None),
                               ("POST", "alert-silences", {"for": "2h", "rule": "nonsense"}),
                               ("POST", "alert-channels/none/test", {})):
        reply = daemon.call(method, f"{V1}/{path}", body)
        points.point(reply["status"] == 404, f"{method} {path}: there is none", reply)
    for body in ({"after": "2d"}, {"severity": "loud"}, {"level": 5}, {"after": "soon"}):
        reply = daemon.call("PATCH", f"{V1}/alert-rules/pool-full", body)
        points.point(reply["status"] == 400, f"a rule is not changed to {body}", reply)


def at_rest(points, state):
    """Neither the store nor the log has a secret in it."""
    with sqlite3.connect(os.path.join(state, "config.db")) as store:
        row = store.execute("select url, secret from alert_channel where name = 'hook'").fetchone()
    points.point(row and b"wordless" not in row[0] and SECRET.encode() not in row[1] and
                 len(row[1]) > len(SECRET), "a channel's URL and secret are sealed", row)
    found = []
    for folder, _, files in os.walk(state):
        for name in files:
            if name.endswith((".pool", ".sock")):
                continue
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    data = file.read()
            except FileNotFoundError:  # a journal of the store's that has just been removed
                continue
            if b"wordless" in data or SECRET.encode() in data:
                found.append(name)
    with open(state + ".log", "rb") as file:
        log = file.read()
    points.point(not found and b"wordless" not in log and SECRET.encode() not in log,
                 "nowhere in the state directory or the log", found)


def release_given_up(points, daemon):
    """What the appliance's granary-update leaves behind when the boot loader has gone back."""
    path = os.path.join(daemon.state, "release-given-up")
    with open(path, "w", encoding="ascii"):
        pass
    points.point(wait_for(lambda: of_rule(daemon, "release-given-up")),
                 "a release that was given up is told", alerts(daemon))
    os.unlink(path)
    points.point(wait_for(lambda: not of_rule(daemon, "release-given-up")),
                 "until another has come up", alerts(daemon))


def metrics(points, daemon):
    left = wait_for(lambda: not alerts(daemon))
    points.point(left, "in the end nothing fires", alerts(daemon))
    text = daemon.good("GET", "/metrics")
    points.point(re.search(r'^granary_alerts\{severity="warning",state="firing"\} 0$', text, re.M) and
                 re.search(r'^granary_alert_deliveries_total\{channel="hook",result="delivered"\} '
                           r"[1-9]", text, re.M) and
                 re.search(r"^granary_alerts_left_out 0$", text, re.M),
                 "metrics count alerts and deliveries",
                 [line for line in text.splitlines() if "alert" in line])


def forecast(points, folder, daemon, hooks):
    """Ten days in which the pool has filled up slowly, made up while the daemon was away."""
    pool = daemon.good("GET", f"{V1}/pools/tank")
    points.point("full_in_hours" not in pool, "of a new pool nothing is foretold", pool)
    sealed = {"syslog": "udp://127.0.0.1:9", "webhook": "http://127.0.0.1:9/x"}
    for kind, url in sealed.items():
        daemon.good("POST", f"{V1}/alert-channels", {"name": kind, "kind": kind, "url": url})
    points.point(daemon.stop() == 0, "the daemon stops", daemon.log()[-2000:])
    if time.time() % 3600 > 3540:
        time.sleep(61)  # the hour is not to turn in the middle
    now = int(time.time()) // 3600
    with sqlite3.connect(os.path.join(daemon.state, "config.db")) as store:
        uuid = store.execute("select uuid from pool where name = 'tank'").fetchone()[0]
        store.execute("delete from pool_usage")
        store.executemany("insert into pool_usage values(?, ?, ?, ?)",
                          [(uuid, now - back, pool["size_bytes"] * (240 - back) // 10000,
                            pool["size_bytes"]) for back in range(1, 241)])
        store.execute("insert into pool_usage values(?, ?, 1, 2)", (uuid, now - 24 * 500))
        store.execute("update alert_channel set url = randomblob(99) where name != 'hook'")
    again = Daemon(os.path.join(folder, "state"), pool=False)
    for kind in sealed:
        reply = again.call("POST", f"{V1}/alert-channels/{kind}/test")
        points.point(reply["status"] == 409, f"a {kind} whose URL does not open is not sent to",
                     reply)
        again.good("DELETE", f"{V1}/alert-channels/{kind}")
    wait_for(lambda: "full_in_hours" in again.good("GET", f"{V1}/pools/tank"))
    pool = again.good("GET", f"{V1}/pools/tank")
    usage = again.good("GET", f"{V1}/pools/tank/usage")
    points.point(9000 < pool.get("full_in_hours", 0) < 11000 and len(usage["samples"]) == 241 and
                 usage["samples"][-1][0] == now * 3600 and
                 usage["full_in_hours"] == pool["full_in_hours"],
                 "it is full in 400 days if it goes on like this; rows of long ago are gone",
                 (pool, len(usage["samples"])))
    again.good("PATCH", f"{V1}/alert-rules/pool-full-soon", {"level": 500})
    wait_for(lambda: of_rule(again, "pool-full-soon"))
    alert = of_rule(again, "pool-full-soon")
    points.point(len(alert) == 1 and 375 <= alert[0]["value"] <= 460, "which may be an alert", alert)
    wait_for(lambda: ("alert.fired", "pool-full-soon") in hooks.events(HOOK))
    return again


def away(points, folder, daemon, hooks):
    """A pool that is not there is one alert, not one for each of its LUNs."""
    daemon.good("PATCH", f"{V1}/alert-rules/pool-unavailable", {"after": "1s", "clear": "1s"})
    daemon.good("PATCH", f"{V1}/alert-rules/lun-unavailable", {"after": "1s"})
    points.point(daemon.stop() == 0, "the daemon stops", daemon.log()[-2000:])
    pool = os.path.join(daemon.state, "tank.pool")
    os.rename(pool, pool + ".away")
    before = len(hooks.of(HOOK))
    again = Daemon(os.path.join(folder, "state"), pool=False)
    wait_for(lambda: ("alert.fired", "pool-unavailable") in hooks.events(HOOK)[before:])
    time.sleep(2.5)
    told = [event for event in hooks.events(HOOK)[before:] if event[0] == "alert.fired"]
    firing = [one for one in alerts(again) if one["severity"] == "critical"]
    points.point(told == [("alert.fired", "pool-unavailable")] and len(firing) == 1 and
                 "tank" in firing[0]["text"] and firing[0]["detail"],
                 "a pool that is missing is told, once, and its LUNs are not", (told, firing))
    again.stop()
    os.rename(pool + ".away", pool)
    again = Daemon(os.path.join(folder, "state"), pool=False)
    wait_for(lambda: ("alert.cleared", "pool-unavailable") in hooks.events(HOOK)[before:])
    told = [event for event in hooks.events(HOOK)[before:] if event[1] == "pool-unavailable"]
    points.point(told == [("alert.fired", "pool-unavailable"),
                          ("alert.cleared", "pool-unavailable")],
                 "and that it is back", hooks.events(HOOK)[before:])
    return again


class Daemon(api.Daemon):
    def granary_in(self, language, *words):
        kept = os.environ.get("LC_ALL")
        os.environ["LC_ALL"] = language
        try:
            return self.granary(*words)
        finally:
            if kept is None:
                del os.environ["LC_ALL"]
            else:
                os.environ["LC_ALL"] = kept


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        context, ca = certificate(folder)
        hooks = Hooks()
        state = os.path.join(folder, "state")
        daemon = Daemon(state)
        try:
            use_space(daemon)
            fires_and_clears(points, daemon, hooks)
            number = ack_and_silence(points, daemon, hooks)
            daemon = over_kill(points, folder, daemon, hooks, number)
            retries(points, daemon, hooks)
            presets(points, daemon, hooks)
            long_answer(points, daemon, hooks)
            mail(points, daemon, context, ca)
            syslog(points, daemon)
            refusals(points, daemon, hooks)
            release_given_up(points, daemon)
            metrics(points, daemon)
            at_rest(points, state)
            daemon = forecast(points, folder, daemon, hooks)
            daemon = away(points, folder, daemon, hooks)
        finally:
            points.point(daemon.stop() == 0, "the daemon stops cleanly", daemon.log()[-3000:])
            hooks.shutdown()


if __name__ == "__main__":
    tap.run(test)
