#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=90 engines=one asan
"""The document of the configuration over HTTPS: out as JSON and as YAML, the same as granary export
prints; compared and carried out from either, by who may; not over what was changed meanwhile."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
import web  # pylint: disable=wrong-import-position

V1 = "/api/v1"
PATH = f"{V1}/configuration"
YAML = {"Content-Type": "application/yaml; charset=utf-8"}
MORE = b"""
version: 1
volumes:
- pool: tank
  name: 0815   # a name, whatever it looks like
  size_bytes: 64M
  checksum: standard
"""


def accounts(daemon, front):
    """An administrator who has just given the password, an operator, a viewer."""
    code = daemon.good("GET", f"{V1}/setup")["code"]
    clients = {"admin": front.client()}
    clients["admin"].call("POST", f"{V1}/setup", {"code": code, "name": "root", "password": "long enough 1"})
    clients["admin"].call("POST", f"{V1}/me/confirm", {"password": "long enough 1"})
    for role in ("operator", "viewer"):
        clients["admin"].call("POST", f"{V1}/accounts", {"name": role, "role": role, "password": "long enough 2"})
        clients[role] = front.client()
        clients[role].call("POST", f"{V1}/login", {"name": role, "password": "long enough 2"})
    return clients


def shown(points, daemon, clients):
    as_json = clients["operator"].call("GET", PATH)
    as_yaml = clients["operator"].call("GET", PATH, headers={"Accept": "text/html;q=0.9, application/yaml"})
    told = daemon.granary("export", "-o", "yaml")
    points.point(as_yaml.status == 200 and as_yaml.headers["Content-Type"] == "application/yaml" and
                 as_yaml.data.decode() == told.stdout and as_yaml.headers["ETag"] == as_json.headers["ETag"],
                 "as YAML it is what granary export prints, with the tag of the JSON", as_yaml.data)
    points.point(as_json.headers["Content-Type"] == "application/json" and
                 as_json.body == daemon.good("GET", PATH), "and without being asked for that it is JSON")
    other = clients["operator"].call("GET", f"{V1}/volumes", headers={"Accept": "application/yaml"})
    refused = clients["viewer"].call("GET", PATH, headers={"Accept": "application/yaml"})
    points.point(other.headers["Content-Type"] == "application/json" and refused.status == 403 and
                 refused.headers["Content-Type"] == "application/problem+json" and
                 refused.body["code"] == "role_too_low", "nothing else is, problems neither", [other, refused])


def compared(points, daemon, clients):
    before, admin = daemon.good("GET", PATH), clients["admin"]
    dry = admin.call("PUT", f"{PATH}?dry_run=1", raw=MORE, headers=YAML)
    points.point(dry.status == 200 and dry.body["dry_run"] and len(dry.body["steps"]) == 1 and
                 "0815" in dry.body["steps"][0]["text"] and daemon.good("GET", PATH) == before,
                 "what a document of YAML would change is told, and nothing has changed", dry)
    refused = [clients[role].call("PUT", f"{PATH}?dry_run=1", raw=MORE, headers=YAML)
               for role in ("operator", "viewer")]
    points.point(all(reply.status == 403 and reply.body["code"] == "role_too_low" for reply in refused),
                 "an administrator does that", refused)
    tag = dry.headers["ETag"]
    points.point(tag == admin.call("GET", PATH).headers["ETag"], "with the tag of what it was compared with", tag)
    daemon.good("POST", f"{V1}/hosts", {"name": "meanwhile", "initiators": ["iqn.2026-11.org.example:m"]})
    stale = [admin.call("PUT", PATH + query, raw=MORE, headers={**YAML, "If-Match": tag})
             for query in ("", "?dry_run=1")]
    points.point(all(reply.status == 412 and reply.body["code"] == "stale" for reply in stale) and
                 not daemon.good("GET", f"{V1}/volumes"), "another's change in between is not written over", stale)
    fresh = admin.call("GET", PATH).headers["ETag"]
    done = admin.call("PUT", PATH, raw=MORE, headers={**YAML, "If-Match": fresh})
    again = admin.call("PUT", PATH, raw=MORE, headers={**YAML, "If-Match": "*"})
    points.point(done.status == 200 and done.body["done"] == 1 and again.body["steps"] == [] and
                 [one["name"] for one in daemon.good("GET", f"{V1}/volumes")] == ["0815"],
                 "with the tag of now it is carried out, once", [done, again])


def pruned(points, daemon, clients):
    admin, document = clients["admin"], daemon.good("GET", PATH)
    text = admin.call("GET", PATH, headers={"Accept": "application/yaml"}).data
    same = [admin.call("PUT", PATH, raw=text, headers=YAML),
            admin.call("PUT", PATH, {"document": document, "prune": True})]
    points.point(all(reply.status == 200 and reply.body["steps"] == [] for reply in same),
                 "what came out goes in without a step, as YAML and as JSON", same)
    kept = admin.call("PUT", f"{PATH}?dry_run=1", raw=b"version: 1\nhosts: []\n", headers=YAML)
    gone = admin.call("PUT", f"{PATH}?dry_run=1&prune=1", raw=b"version: 1\nhosts: []\n", headers=YAML)
    points.point(kept.body["steps"] == [] and [step["method"] for step in gone.body["steps"]] == ["DELETE"],
                 "?prune=1 is the switch for YAML", [kept, gone])


def refused(points, daemon, clients):
    admin, before = clients["admin"], daemon.good("GET", PATH)
    cases = [(b"volumes: [\n", "bad_yaml"), (b"a: &x 1\nb: *x\n", "bad_yaml"), (b"a: 1\na: 2\n", "bad_yaml"),
             (b"- 1\n", "bad_yaml"), (b"# nothing\n", "bad_yaml"), (b"[" * 100, "bad_yaml"),
             (b"a: !!python/object 1\n", "bad_yaml"), (b"\xff\xfe", "bad_yaml")]
    for text, code in cases:
        reply = admin.call("PUT", PATH, raw=text, headers=YAML)
        points.point(reply.status == 400 and reply.body["code"] == code and "line" in reply.body["detail"],
                     f"{text[:24]!r}: {code}", reply)
    wrong = admin.call("PUT", PATH, raw=b"version: 1\nvolumes:\n- nonsense: 1\n", headers=YAML)
    points.point(wrong.status == 422 and wrong.body["code"] == "bad_document", "a member that none knows", wrong)
    elsewhere = admin.call("POST", f"{V1}/hosts", raw=b"name: x\ninitiators: [iqn.2026-11.x:y]\n", headers=YAML)
    points.point(elsewhere.status == 415 and elsewhere.body["code"] == "bad_type",
                 "YAML is for the document alone", elsewhere)
    points.point(daemon.good("GET", PATH) == before, "and nothing was changed")


def described(points, clients):
    paths = clients["admin"].call("GET", f"{V1}/openapi.json").body["paths"]["/api/v1/configuration"]
    points.point("application/yaml" in paths["get"]["responses"]["200"]["content"] and
                 sorted(paths["put"]["requestBody"]["content"]) == ["application/json", "application/yaml"] and
                 {"If-Match", "prune"} <= {one["name"] for one in paths["put"]["parameters"]},
                 "the API's description has all of it", paths)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        daemon = api.Daemon(os.path.join(folder, "state"))
        front = web.Front(daemon.state)
        try:
            clients = accounts(daemon, front)
            shown(points, daemon, clients)
            compared(points, daemon, clients)
            pruned(points, daemon, clients)
            refused(points, daemon, clients)
            described(points, clients)
        finally:
            points.point(front.stop() == 0, "the front stops cleanly", front.log())
            points.point(daemon.stop() == 0, "so does the daemon", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
