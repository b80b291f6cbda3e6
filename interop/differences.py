"""Where we differ from 3.8.0 on purpose, mostly by following 3.9. Any other difference is a bug.

`EXPLAINED` says how such a difference shows in a random script: each function gets the
fact's name, Apache's value, ours and what is known of the script, and says whether this
is that difference. `OBSERVED` performs each difference alone and states exactly what
either server answers, so that the list can neither rot nor hide a third behaviour.
"""

import wire
from wire import OPEN, Client, Closed

WORLD_READ = ("world", "anyone")


class Knowledge:
    """What the steps so far say about the paths and sessions of a script."""

    def __init__(self, root, restricted):
        self.never = never(root)
        self.made = {}  # step number -> path that its reply named
        # Paths that ever had an ACL without READ for the world: earlier scripts on the same servers may
        # have left some outside their own roots.
        self.restricted = restricted
        self.denied = set()  # (session, path) whose exists we refused and Apache did not
        self.watched = {}  # path -> sessions that ever asked for a watch on it
        self.session = None
        self.calls = []

    def begin(self, step, outcome):
        """Take in a step before its facts are compared."""
        number, verb, self.session, *arguments = step
        calls = [arguments] if verb == "call" else arguments[0] if verb == "burst" else []
        if verb == "raw":
            calls = whole_request(*arguments)
        self.calls = [[name] + [self.path(value) for value in values] for name, *values in calls]
        for (name, *values), reply in zip(self.calls, outcome.replies):
            path = reply["body"].get("path") if isinstance(reply["body"], dict) else None
            if verb == "call" and path:
                self.made[number] = path
            self.learn(name, values, path)
        for name, *values in self.calls:
            for path in watched_by(name, values):
                self.watched.setdefault(path, set()).add(self.session)

    def path(self, value):
        if isinstance(value, tuple) and len(value) == 2 and value[0] == "made":
            return self.made.get(value[1], self.never)
        return value

    def learn(self, name, values, path):
        if name == "multi":
            for part, *inside in values[0]:
                self.learn(part, [self.path(value) for value in inside], None)
        acl = {"create": 2, "create2": 2, "createContainer": 2, "createTTL": 2, "setACL": 1}.get(name)
        if acl is not None and not readable(values[acl]):
            self.restricted.add(path or values[0])

    def call_of(self, fact):
        """The request that this fact answers: [name, values...], or None."""
        words = fact.split()
        if words[0] != "reply" or int(words[1]) >= len(self.calls):
            return None
        return self.calls[int(words[1])]


def never(root):
    """The path that stands for one that a step should have made, and did not."""
    return root + "/never"


def whole_request(name, body):
    """[[name, values...]] if these bytes are a whole request, perhaps with more behind it."""
    fields = wire.OPERATIONS[name][1] if isinstance(name, str) else None
    if not fields:
        return []
    try:
        return [[name] + list(wire.Reader(body).record(fields).values())]
    except wire.Truncated:
        return []


def watched_by(name, values):
    """The paths that a request leaves a watch on, if it succeeds."""
    if name == "addWatch":
        return [values[0]]
    if name in ("setWatches", "setWatches2"):
        return [path for paths in values[1:] for path in paths]
    return [values[0]] if name in ("exists", "getData", "getChildren", "getChildren2") and values[1] else []


def readable(acl):
    return any(perms & 1 and (scheme, identity) == WORLD_READ for perms, scheme, identity in acl or [])


def event_zxid(fact, apache, ours, _knowledge):
    """Watch events carry the zxid that caused them (ZOOKEEPER-4655); 3.8 sends -1."""
    return fact.startswith("events of") and len(apache) == len(ours) and all(map(same_event, apache, ours))


def same_event(apache, ours):
    kind, path, state, zxid, err = apache
    return (kind, path, state, err) == (ours[0], ours[1], ours[2], ours[4]) and zxid == -1 and (
        ours[3] == -1 or ours[3] > 0)


def exists_needs_read(fact, apache, ours, knowledge):
    """exists wants READ on the node, and registers no watch without it; 3.8 does not check."""
    if fact.startswith("events of"):
        session, rest = int(fact.split()[-1]), list(ours)
        for event in apache:
            if rest and same_event(event, rest[0]):
                rest.pop(0)
            elif (session, event[1]) not in knowledge.denied:
                return False
        return not rest
    call = knowledge.call_of(fact)
    if call is None or call[0] not in ("exists", "checkWatches", "removeWatches"):
        return False
    name, path = call[:2]
    if name == "exists" and path in knowledge.restricted:
        if fact.endswith(" err") and (apache, ours) == (0, -102):
            knowledge.denied.add((knowledge.session, path))
            return True
        return fact.endswith(" body") and ours is None
    if name != "exists" and (knowledge.session, path) in knowledge.denied:
        return fact.endswith(" err") and (apache, ours) == (0, -121) or fact.endswith(" body") and ours is None
    return False


def create2_in_multi(fact, apache, ours, _knowledge):
    """create2 in a multi answers type 15 with a Stat (ZOOKEEPER-4026); 3.8 answers it as create."""
    if not fact.endswith(" body") or not isinstance(apache, list) or not isinstance(ours, list):
        return False
    if len(apache) != len(ours):
        return False
    for one, two in zip(apache, ours):
        if one == two:
            continue
        if (one[0], two[0]) != (1, 15) or one[1] != two[1] or one[2]["path"] != two[2]["path"]:
            return False
    return True


def bad_flags_in_multi(fact, apache, ours, knowledge):
    """Flags of no create mode make a multi undecodable (-5); Debian's 3.8.0 fails that operation (-8)."""
    call = knowledge.call_of(fact)
    if call is None or call[0] != "multi" or not any(
            operation[0].startswith("create") and operation[4] not in range(7) for operation in call[1]):
        return False
    return fact.endswith(" err") and (apache, ours) == (0, -5) or fact.endswith(" body") and ours is None


def watches_of_others(fact, apache, ours, knowledge):
    """checkWatches tells of the session's own watches (3.9); 3.8 of anybody's on that path."""
    call = knowledge.call_of(fact)
    if call is None or call[0] != "checkWatches" or not knowledge.watched.get(call[1], set()) - {knowledge.session}:
        return False
    return fact.endswith(" err") and (apache, ours) == (0, -121) or fact.endswith(" body") and ours is None


EXPLAINED = (event_zxid, exists_needs_read, create2_in_multi, bad_flags_in_multi, watches_of_others)


# One difference at a time. Each function performs it and returns what it saw.

def closes(client):
    """Whether the connection ends before a ping is answered."""
    try:
        client.call("ping")
        return False
    except Closed:
        return True


def see_event_zxid(server):
    client = Client(server.address)
    client.ok("create", "/event-zxid", b"", OPEN, 0)
    client.ok("getData", "/event-zxid", True)
    written = client.ok("setData", "/event-zxid", b"1", -1).zxid
    event, = client.take_events()
    return {-1: "-1", written: "the zxid of the write"}.get(event.zxid, event.zxid)


def see_event_filter(server):
    owner, stranger = Client(server.address), Client(server.address)
    owner.ok("auth", 0, "digest", b"bob:builder")
    owner.ok("create", "/event-filter", b"", OPEN, 0)
    stranger.ok("addWatch", "/event-filter", 1)
    owner.ok("create", "/event-filter/secret", b"", wire.CREATOR, 0)
    owner.ok("setData", "/event-filter/secret", b"1", -1)
    owner.ok("create", "/event-filter/open", b"", OPEN, 0)
    owner.ok("delete", "/event-filter/secret", -1)
    return [(event["type"], event["path"]) for event in stranger.take_events()]


def see_exists_read(server):
    owner, stranger = Client(server.address), Client(server.address)
    owner.ok("auth", 0, "digest", b"bob:builder")
    owner.ok("create", "/exists-read", b"", wire.CREATOR, 0)
    return stranger.call("exists", "/exists-read", True).err, stranger.call("checkWatches", "/exists-read", 3).err


def see_watch_modes(server):
    """A persistent watch set over a standard one, fired twice."""
    client, other = Client(server.address), Client(server.address)
    other.ok("create", "/modes", b"", OPEN, 0)
    client.ok("addWatch", "/modes", 0)
    client.ok("getData", "/modes", True)
    other.ok("setData", "/modes", b"1", -1)
    other.ok("setData", "/modes", b"2", -1)
    return len(client.take_events())


def see_watcher_types(server):
    client = Client(server.address)
    client.ok("create", "/types", b"", OPEN, 0)
    client.ok("addWatch", "/types", 0)
    return client.call("checkWatches", "/types", 4).err, client.call("checkWatches", "/types", 5).err


def see_watches_of_others(server):
    client, other = Client(server.address), Client(server.address)
    other.ok("create", "/others", b"", OPEN, 0)
    other.ok("getData", "/others", True)
    return client.call("checkWatches", "/others", 3).err, other.call("checkWatches", "/others", 3).err


def see_remove_data_of_persistent(server):
    client = Client(server.address)
    client.ok("create", "/remove", b"", OPEN, 0)
    client.ok("addWatch", "/remove", 0)
    return client.call("removeWatches", "/remove", 2).err


def see_top_level_check(server):
    client = Client(server.address, io_timeout=5)
    client.ok("create", "/check", b"", OPEN, 0)
    client.send("check", "/check", 0)
    client.send("ping")
    try:
        first = wire.Reply(client.recv_frame(), None)
        return (first.xid, first.err, closes_after(client))
    except Closed:
        return "closed without a reply"


def closes_after(client):
    client.pending.clear()
    return closes(client)


def see_create2_in_multi(server):
    client = Client(server.address)
    (kind, err, result), = client.ok("multi", [("create2", "/create2-multi", b"", OPEN, 0)]).body
    return kind, err, sorted(result)


def see_bad_flags_in_multi(server):
    client = Client(server.address)
    reply = client.call("multi", [("create", "/bad-flags", b"", OPEN, 9)])
    return reply.err if reply.err else [(kind, result["err"]) for kind, _, result in reply.body]


def see_ipv6_acl(server):
    client = Client(server.address)
    return client.call("create", "/ipv6", b"", [(31, "ip", "::1")], 0).err


def see_delete_container(server):
    """An internal operation, sent by a client for a plain node."""
    client = Client(server.address)
    client.ok("create", "/plain", b"", OPEN, 0)
    client.send_frame(wire.pack_record(wire.REQUEST_HEADER, [99, 20]) + b"/plain")
    client.pending.append((99, None))
    try:
        err = client.recv().err
    except Closed:
        err = "closed"
    return err, Client(server.address).call("exists", "/plain", False).err


def see_create_session(server):
    """An internal operation, sent by a client inside its session."""
    client = Client(server.address)
    client.send_frame(wire.request(99, "createSession", 5000))
    try:
        reply = wire.Reply(client.recv_frame(), None)
    except Closed:
        return "closed"
    return (reply.err, closes_after(client)) if reply.xid == 99 else "something else than a reply"


def see_wrong_password(server):
    owner = Client(server.address)
    thief = Client(server.address, session=owner.session, password=b"not the password")
    return thief.session, "the owner's connection ends" if closes(owner) else "the owner's connection lives"


def see_long_acl(server):
    return Client(server.address).call(
        "create", "/long-acl", b"", [(1, "digest", "u%d:x" % number) for number in range(1025)], 0).err


# name: (performs, 3.8.0's answer, ours, why)
OBSERVED = {
    "event zxid": (see_event_zxid, "-1", "the zxid of the write", "ZOOKEEPER-4655, 3.9.0"),
    # Debian's 3.8.0 carries the fix, so both agree; listed because upstream's 3.8.0 does not.
    "events filtered by READ": (
        see_event_filter, [(1, "/event-filter/open")], [(1, "/event-filter/open")], "CVE-2024-23944, 3.9.2"),
    "exists needs READ": (see_exists_read, (0, 0), (-102, -121), "CVE-2024-23944, 3.9.2"),
    "watch modes are independent": (see_watch_modes, 1, 2, "ZOOKEEPER-4466, 3.9.0"),
    "watcher types 4 and 5": (see_watcher_types, (-5, -5), (0, -121), "ZOOKEEPER-4472, 3.9.0"),
    "checkWatches tells of own watches": (see_watches_of_others, (0, 0), (-121, 0), "ZOOKEEPER-4471, 3.9.0"),
    "removing data watches spares persistent ones": (see_remove_data_of_persistent, 0, -121, "ZOOKEEPER-4471, 3.9.0"),
    "top-level check": (see_top_level_check, (-2, 0, False), (2, -6, True), "ZOOKEEPER-2623, 3.9.3"),
    "bad flags in a multi": (see_bad_flags_in_multi, [(-1, -8)], -5, "3.9.0"),
    "IPv6 in ACLs": (see_ipv6_acl, -114, 0, "3.9.0"),
    # Ours alone.
    "deleteContainer from a client": (
        see_delete_container, (-8, 0), (-6, 0), "internal; 3.8.0 takes the request header for the path"),
    "createSession from a client": (
        see_create_session, "something else than a reply", (-6, True), "internal; Apache performs it"),
    "wrong password for a live session": (
        see_wrong_password, (0, "the owner's connection ends"), (0, "the owner's connection lives"),
        "anybody could cut others off"),
    "ACLs beyond 1024 entries": (see_long_acl, 0, -114, "each entry is compared with each"),
    # The same in both, and different from 3.9.
    "create2 in a multi": (see_create2_in_multi, (1, 0, ["path"]), (15, 0, ["path", "stat"]), "ZOOKEEPER-4026, 3.9.0"),
}
