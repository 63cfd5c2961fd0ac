#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=one
"""A client that is made from GET /api/v1/openapi.json alone: a function per operation, which takes
path parameters, query and body by name and looks at both ways against the document. By it a program
provisions storage over HTTPS with a token, the way a plugin of a cloud does."""

import hashlib
import os
import re
import sys
import tempfile
import types
import urllib.error
import urllib.parse
import urllib.request
import json

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
import web  # pylint: disable=wrong-import-position

METHODS = {"get", "put", "post", "patch", "delete"}
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list,
         "object": dict}


class Wrong(Exception):
    """What does not fit the document."""


class Refused(Exception):
    def __init__(self, status, problem):
        super().__init__(f"{status} {problem}")
        self.status, self.code = status, problem["code"]


def resolve(document, schema):
    while "$ref" in schema:
        place = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        schema = place
    return schema


def check(document, schema, value, where):
    schema = resolve(document, schema)
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if wanted and not any(isinstance(value, TYPES[one]) and
                          not (one in ("integer", "number") and isinstance(value, bool)) for one in wanted):
        raise Wrong(f"{where} is {value!r}, not {wanted}")
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                raise Wrong(f"{where} has no {name}")
        for name, part in value.items():
            if name in schema.get("properties", {}):
                check(document, schema["properties"][name], part, f"{where}.{name}")
            elif schema.get("additionalProperties") is False:
                raise Wrong(f"{where} has {name}, which nobody knows")
    if isinstance(value, list) and "items" in schema:
        for at, part in enumerate(value):
            check(document, schema["items"], part, f"{where}[{at}]")


def generate(document, send):
    """An object with a function for each operation of the document."""
    client = types.SimpleNamespace()
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            setattr(client, item[method]["operationId"],
                    function_of(document, path, method, item[method], send))
    return client


def function_of(document, path, method, operation, send):
    places = {one["name"]: one for one in operation.get("parameters", [])}
    kinds = list(operation.get("requestBody", {}).get("content", {}))

    def call(body=None, **values):
        target, query, headers = path, {}, {}
        for name, value in values.items():
            place = places.get(name.replace("_", "-") if name.replace("_", "-") in places else name)
            if not place:
                raise Wrong(f"{operation['operationId']} has no parameter {name}")
            if place["in"] == "path":
                target = target.replace("{%s}" % name, urllib.parse.quote(str(value), safe=""))
            elif place["in"] == "query":
                query[name] = value
            else:
                headers[place["name"]] = value
        if "{" in target:
            raise Wrong(f"{target}: a part of the path is missing")
        missing = [name for name, place in places.items()
                   if place.get("required") and place["in"] == "query" and name not in query]
        if missing or (body is not None) != bool(kinds) and operation.get("requestBody", {}).get("required"):
            raise Wrong(f"{operation['operationId']}: {missing or 'a body'}")
        if kinds == ["application/json"]:
            check(document, operation["requestBody"]["content"][kinds[0]]["schema"], body, "body")
        status, kind, answer = send(method.upper(), target + ("?" + urllib.parse.urlencode(query) if query else ""),
                                    kinds[0] if kinds else None, body, headers)
        responses = operation["responses"]
        known = responses.get(str(status)) or responses.get(f"{status // 100}XX") or responses["default"]
        content = known["content"]
        if kind not in content:
            raise Wrong(f"{path} answers {kind}, not {list(content)}")
        check(document, content[kind]["schema"], answer, "answer")
        if status >= 400:
            raise Refused(status, answer)
        return answer
    return call


def sender(front, token):
    def send(method, target, kind, body, headers):
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"https://127.0.0.1:{front.port}{target}", data, method=method, headers={
            "Authorization": f"Bearer {token}", **({"Content-Type": kind} if data is not None else {}), **headers})
        try:
            with urllib.request.urlopen(request, timeout=60, context=front.context()) as reply:
                status, answer_kind, text = reply.status, reply.headers.get_content_type(), reply.read()
        except urllib.error.HTTPError as refused:
            status, answer_kind, text = refused.code, refused.headers.get_content_type(), refused.read()
        return status, answer_kind, json.loads(text) if answer_kind.endswith("json") else text.decode()
    return send


def valid(points, document):
    """OpenAPI 3.1 as far as it says how a document is built."""
    wrong = []
    operations = [(path, method, item[method]) for path, item in document["paths"].items() for method in item]
    if not re.fullmatch(r"3\.1\.\d+", document["openapi"]) or not {"title", "version"} <= set(document["info"]):
        wrong.append("openapi, info")
    for path, method, operation in operations:
        where = f"{method} {path}"
        asked = set(re.findall(r"{(\w+)}", path))
        told = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
        if method not in METHODS or not path.startswith("/") or asked != set(told) or len(told) != len(set(told)):
            wrong.append(f"{where}: method or path")
        for one in operation["parameters"]:
            if one["in"] not in ("path", "query", "header") or "schema" not in one or \
                    (one["in"] == "path" and one.get("required") is not True):
                wrong.append(f"{where}: parameter {one}")
        for code, answer in operation["responses"].items():
            if not re.fullmatch(r"[1-5](\d\d|XX)|default", code) or not answer.get("description"):
                wrong.append(f"{where}: response {code}")
        if method in ("get", "delete") and method == "get" and "requestBody" in operation:
            wrong.append(f"{where}: a GET with a body")
    names = [operation["operationId"] for _, _, operation in operations]
    if len(names) != len(set(names)) or not all(name.isidentifier() for name in names):
        wrong.append("operation ids")
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)):
        try:
            resolve(document, {"$ref": reference})
        except KeyError:
            wrong.append(reference)
    for name, schema in document["components"]["schemas"].items():
        for field, part in schema.get("properties", {}).items():
            kinds = part.get("type")
            if not set([kinds] if isinstance(kinds, str) else kinds or []) <= set(TYPES):
                wrong.append(f"{name}.{field}")
    points.point(not wrong, f"the document of {len(names)} operations is valid", wrong[:10])


HOSTS = ["iqn.2026-11.org.example:node1", "iqn.2026-11.org.example:node2"]


def provisioning(points, client):
    made = client.postProvision({"purpose": "vm-disks", "name": "pvc-1", "size": "64M", "hosts": HOSTS})
    iqn = made["target"]
    target = client.getTargetsIqn(iqn=iqn)
    points.point(target["luns"][0]["volume"] == "pvc-1" and
                 [rule["initiator"] for rule in target["rules"]] == HOSTS, "a volume is provisioned for two hosts", target)
    pools = client.getPools()
    points.point(pools[0]["free_bytes"] > 0 and {"address", "port", "portal_group"} <= set(made["portals"][0]),
                 "capacity and portals are told")
    client.patchVolumesPoolVolume({"size": "128M"}, pool="tank", volume="pvc-1")
    points.point(client.getVolumesPoolVolume(pool="tank", volume="pvc-1")["size_bytes"] == 128 << 20, "extended")
    client.postSnapshots({"snapshots": ["tank/pvc-1@first"]})
    client.postVolumesPoolVolumeSnapshotsSnapshotClone({"name": "pvc-2"}, pool="tank", volume="pvc-1", snapshot="first")
    lun = client.postTargetsIqnLuns({"pool": "tank", "volume": "pvc-2"}, iqn=iqn)
    points.point(lun["lun"] == 1, "snapshot, clone, published", lun)
    client.postTargetsIqnRules({"initiator": "iqn.2026-11.org.example:node3"}, iqn=iqn)
    client.deleteTargetsIqnRules({"initiator": HOSTS[0]}, iqn=iqn)
    points.point([rule["initiator"] for rule in client.getTargetsIqn(iqn=iqn)["rules"]] ==
                 [HOSTS[1], "iqn.2026-11.org.example:node3"], "published to a host, and from one no more")
    page = client.getVolumes(limit=1)
    points.point(len(page) == 1, "a page of the volumes", page)
    client.deleteTargetsIqnLunsLun(iqn=iqn, lun=1)
    client.deleteTargetsIqn(iqn=iqn)
    client.deleteVolumesPoolVolume(pool="tank", volume="pvc-2")
    points.point([one["name"] for one in client.getVolumes()] == ["pvc-1"], "unpublished and deleted")


def images(points, client):
    data = os.urandom(100000)
    client.postProvision({"purpose": "iso-library", "name": "isos", "size": "1G", "hosts": ["*"]})
    begun = client.postSharesPoolShareImages({"name": "a.iso", "size": len(data)}, pool="tank", share="isos")
    client.putSharesPoolShareImagesImage(data, pool="tank", share="isos", image="a.iso", offset=begun["received_bytes"])
    done = client.postSharesPoolShareImagesImageDone({"sha256": hashlib.sha256(data).hexdigest()}, pool="tank", share="isos", image="a.iso")
    listed = client.getSharesPoolShareImages(pool="tank", share="isos")
    points.point(done["checked"] and listed[0]["name"] == "a.iso" and listed[0]["size_bytes"] == len(data),
                 "a library with an image", listed)


def refusals(points, client):
    for call, code in ((lambda: client.getVolumesPoolVolume(pool="tank", volume="none"), "volume_not_found"),
                       (lambda: client.postVolumes({"pool": "tank", "name": "pvc-1", "size": "1M"}), "volume_exists"),
                       (lambda: client.patchVolumesPoolVolume({"size": "256M"}, pool="tank", volume="pvc-1",
                                                              If_Match='"0123456789abcdef"'), "stale")):
        try:
            got = call()
        except Refused as refused:
            got = refused.code
        points.point(got == code, f"a refusal comes as the document says: {code}", got)
    try:
        client.postVolumes({"pool": "tank", "name": "x", "size": "1M", "colour": "red"})
        points.point(False, "the client looks at what it sends")
    except Wrong as wrong:
        points.point("colour" in str(wrong), "the client looks at what it sends", wrong)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "state")
        daemon = api.Daemon(state)
        front = None
        try:
            front = web.Front(state)
            token = daemon.good("POST", "/api/v1/tokens", {"name": "plugin", "role": "provisioner"})["token"]
            document = daemon.good("GET", "/api/v1/openapi.json")
            valid(points, document)
            client = generate(document, sender(front, token))
            provisioning(points, client)
            images(points, client)
            refusals(points, client)
        finally:
            if front:
                points.point(front.stop() == 0, "the front stops cleanly", front.log())
            points.point(daemon.stop() == 0, "so does the daemon", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)
