# SPDX-License-Identifier: Apache-2.0
"""granary-web under test, and clients of it."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))


class Reply:
    def __init__(self, status, headers, data):
        self.status = status
        self.headers = headers
        self.data = data
        try:
            self.body = json.loads(data)
        except ValueError:
            self.body = None

    def problem(self):
        """Is it an RFC 9457 body that says the status?"""
        return (self.headers.get("Content-Type") == "application/problem+json" and
                isinstance(self.body, dict) and self.body.get("status") == self.status and
                {"type", "title", "detail", "code"} <= set(self.body))

    def __repr__(self):
        return f"{self.status} {self.data[:300]!r}"


class Client:
    """A browser's memory: the cookie and the CSRF token; or an API token."""

    def __init__(self, front, cookie=None, token=None):
        self.front = front
        self.cookie = cookie
        self.csrf = ""
        self.token = token

    def call(self, method, path, body=None, headers=None, raw=None):
        sent = {"Host": f"127.0.0.1:{self.front.port}"}
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            sent["Content-Type"] = "application/json"
        if self.token:
            sent["Authorization"] = "Bearer " + self.token
        if self.cookie:
            sent["Cookie"] = "__Host-granary=" + self.cookie
        if self.csrf and method != "GET":
            sent["X-CSRF-Token"] = self.csrf
        sent.update(headers or {})
        connection = http.client.HTTPSConnection("127.0.0.1", self.front.port, timeout=120,
                                                 context=self.front.context())
        try:
            try:
                connection.request(method, path, raw, sent)
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                pass  # refused before all of the body was sent; the answer is there
            response = connection.getresponse()
            reply = Reply(response.status, response.headers, response.read())
        finally:
            connection.close()
        self.remember(reply)
        return reply

    def stream(self, last_id=None):
        """A stream of events; read it with until()."""
        return Stream(self, last_id)

    def remember(self, reply):
        cookie = re.match(r"__Host-granary=([^;]*)", reply.headers.get("Set-Cookie", ""))
        if cookie:
            self.cookie = cookie.group(1)
            self.csrf = (reply.body or {}).get("csrf", "")


class Stream:
    """GET /api/v1/events as a browser's EventSource asks for it."""

    def __init__(self, client, last_id):
        lines = ["GET /api/v1/events HTTP/1.1", f"Host: 127.0.0.1:{client.front.port}",
                 "Accept: text/event-stream", f"Cookie: __Host-granary={client.cookie or ''}"]
        if last_id is not None:
            lines.append(f"Last-Event-ID: {last_id}")
        self.socket = client.front.connect()
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.text = ""

    def until(self, pattern, seconds=60):
        """The match in what has come, None when it does not come in time."""
        limit = time.monotonic() + seconds
        while not (match := re.search(pattern, self.text, re.S)):
            self.socket.settimeout(max(0.01, limit - time.monotonic()))
            try:
                data = self.socket.recv(1 << 16)
            except (TimeoutError, OSError):
                return None
            if not data:
                return None
            self.text += data.decode()
        return match

    def last_id(self):
        """Of what has come."""
        return int(re.findall(r"^id: (\d+)", self.text, re.M)[-1])

    def close(self):
        self.socket.close()


class Front:
    """granary-web on a free loopback port; stop() always."""

    def __init__(self, state, *options):
        self.state = state
        self.log_path = state + ".web.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [os.path.join(BUILD, "granary-web"), "--state", state, "--bind", "127.0.0.1",
                 "--port", "0", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        limit = time.monotonic() + 60
        while "certificate SHA-256" not in self.log():
            if self.process.poll() is not None or time.monotonic() > limit:
                self.stop()
                raise RuntimeError("granary-web did not get ready:\n" + self.log())
            time.sleep(0.02)
        self.port = int(re.search(r"WEB https://127\.0\.0\.1:(\d+)/", self.log()).group(1))

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def context(self):
        """Trusts the certificate it made, and no other."""
        return ssl.create_default_context(cafile=os.path.join(self.state, "web", "cert.pem"))

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return self.context().wrap_socket(plain, server_hostname="127.0.0.1")

    def raw(self, data):
        """What comes back for these bytes until the end of the connection."""
        reply = b""
        with self.connect() as stream:
            try:
                stream.sendall(data)
                while part := stream.recv(1 << 16):
                    reply += part
                    if b"\r\n\r\n" in reply:
                        break
            except OSError:
                pass
        return reply

    def client(self, **known):
        return Client(self, **known)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        words = ("Sanitizer", "runtime error")
        return 99 if any(word in self.log() for word in words) else self.process.returncode
