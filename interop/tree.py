"""The whole tree as a client with super rights sees it, and how two such views differ."""

import base64
import json

from wire import Client

SUPER = "super:secret"


BATCH = 64  # nodes asked about in one go


def walk(client, root="/"):
    """{path: {"data": bytes or None, "stat": {...}, "acl": [(perms, scheme, id)...]}} for `root` and below."""
    seen, queue = {}, [root]
    while queue:
        batch, queue = queue[:BATCH], queue[BATCH:]
        for path in batch:
            client.send("getData", path, False)
            client.send("getACL", path)
            client.send("getChildren", path, False)
        for path in batch:
            data, acl, children = client.recv(), client.recv(), client.recv()
            if data.err == -101:
                continue  # gone since its parent listed it
            for reply in (data, acl, children):
                if reply.err != 0:
                    raise AssertionError("%s %s: err %d" % (reply.name, path, reply.err))
            seen[path] = {"data": data["data"], "stat": data["stat"], "acl": acl["acl"]}
            queue.extend((path if path != "/" else "") + "/" + child for child in children["children"])
    return seen


def walk_as_super(address, root="/"):
    """Connect, walk, and drop the connection; the session is closed, which costs two zxids."""
    client = Client(address)
    client.ok("auth", 0, "digest", SUPER.encode())
    try:
        return walk(client, root)
    finally:
        client.call("closeSession")
        client.close()


def to_json(tree):
    encoded = {}
    for path, node in sorted(tree.items()):
        data = node["data"]
        encoded[path] = {"data": None if data is None else base64.b64encode(data).decode(), "stat": node["stat"],
                         "acl": [list(entry) for entry in node["acl"]]}
    return encoded


def from_json(encoded):
    return {path: {"data": None if node["data"] is None else base64.b64decode(node["data"]), "stat": node["stat"],
                   "acl": [tuple(entry) for entry in node["acl"]]} for path, node in encoded.items()}


def differences(left, right, ignore=()):
    """Lines that say where two trees differ; `ignore` names stat fields."""
    found = []
    for path in sorted(set(left) | set(right)):
        if path not in left or path not in right:
            found.append("%s only on the %s" % (path, "left" if path in left else "right"))
            continue
        one, two = left[path], right[path]
        if one["data"] != two["data"]:
            found.append("%s data: %r | %r" % (path, one["data"], two["data"]))
        # What `auth` becomes is in the order of a hash set of Java's.
        if sorted(one["acl"]) != sorted(two["acl"]):
            found.append("%s acl: %r | %r" % (path, one["acl"], two["acl"]))
        for field, value in one["stat"].items():
            if field not in ignore and two["stat"][field] != value:
                found.append("%s %s: %s | %s" % (path, field, value, two["stat"][field]))
    return found


def dump(tree):
    return json.dumps(to_json(tree), indent=1, sort_keys=True) + "\n"
