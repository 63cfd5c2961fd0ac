# SPDX-License-Identifier: Apache-2.0
"""The daemon's API over its control socket, for the tests."""

import json
import os
import signal
import socket
import struct
import subprocess
import time

from ports import free_port

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))


class Daemon:
    """granaryd with a pool "tank" on a file, on free loopback ports; stop() always."""

    def __init__(self, state, *options, pool=True):
        self.state = state
        self.port = free_port()
        self.log_path = state + ".log"
        command = [os.path.join(BUILD, "granaryd"), "--state", state, "--bind", "127.0.0.1",
                   "--iscsi-port", str(self.port), "--nfs-port", "0", *options]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT)
        try:
            self.wait_ready()
            if pool:
                self.good("POST", "/api/v1/pools",
                          {"name": "tank", "devices": [{"path": os.path.abspath(state) + "/tank.pool",
                                                        "size": "2G"}]})
        except BaseException:
            self.stop()
            raise

    def wait_ready(self):
        limit = time.monotonic() + 60
        while not any(line.startswith("READY") for line in self.log().splitlines()):
            if self.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError("granaryd did not get ready:\n" + self.log())
            time.sleep(0.02)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def raw(self, data, name="control.sock"):
        """Sends one message as it is; the reply, or None when the connection ends."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(120)
            stream.connect(os.path.join(self.state, name))
            stream.sendall(struct.pack(">I", len(data)) + data)
            reply = b""
            while len(reply) < 4 or len(reply) < 4 + struct.unpack(">I", reply[:4])[0]:
                part = stream.recv(1 << 16)
                if not part:
                    return None
                reply += part
            return json.loads(reply[4:])

    def call(self, method, path, body=None, **more):
        """The whole reply: status, body and what stands beside it."""
        message = {"method": method, "path": path, **more}
        if body is not None:
            message["body"] = body
        return self.raw(json.dumps(message).encode())

    def good(self, method, path, body=None, **more):
        reply = self.call(method, path, body, **more)
        if not 200 <= reply["status"] < 300:
            raise RuntimeError(f"{method} {path}: {reply}")
        return reply["body"]

    def granary(self, *words):
        return subprocess.run([os.path.join(BUILD, "granary"), "--state", self.state, *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120)

    def stop(self):
        """The exit status; 99 when a sanitizer build has complained."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        words = ("Sanitizer", "runtime error")
        return 99 if any(word in self.log() for word in words) else self.process.returncode
