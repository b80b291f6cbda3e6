"""Perform a script on one server and note what came back, in terms that two servers share.

Times become "T", session ids become the script's session numbers, zxids count from the
script's start, lists without an order are sorted. Everything else is kept as it came.
"""

import differences
import tree
import wire
from wire import Client, Closed

IO_SECONDS = 15
ENDING = (-6, -115, -124)  # errors after which the server closes, sometimes a ping later
BEFORE = -10 ** 6  # zxids from before the script stay apart from its own


class Outcome:
    """What one step caused: replies, watch events of every session, connections that ended."""

    def __init__(self):
        self.replies = []
        self.events = {}
        self.closed = []
        self.notes = []

    def facts(self):
        """Flat (name, value) pairs for comparison, in a fixed order."""
        pairs = [("note %d" % n, note) for n, note in enumerate(self.notes)]
        for n, reply in enumerate(self.replies):
            pairs.extend(("reply %d %s" % (n, key), value) for key, value in reply.items())
        pairs.extend(("events of %d" % session, events) for session, events in sorted(self.events.items()))
        pairs.append(("connections ended", sorted(self.closed)))
        return pairs


def acl(entries):
    """Neighbouring digest entries sorted: `auth` is replaced by the identities of a connection,
    which are a set in Apache."""
    shared, run = [], []
    for entry in entries or []:
        if entry[1] == "digest":
            run.append(entry)
            continue
        shared += sorted(run) + [entry]
        run = []
    return shared + sorted(run) if entries is not None else None


class Replay:
    def __init__(self, address, root):
        self.address = address
        self.root = root
        self.clients = {}  # session number -> Client with a live connection
        self.known = {}  # session number -> (id, password, timeout)
        self.names = {}  # session id -> label
        self.made = {}  # step number -> path that its reply named
        self.base = None

    # Terms that servers share.
    def zxid(self, value):
        if value <= 0:
            return value
        return value - self.base if value > self.base else BEFORE

    def stat(self, stat):
        shared = dict(stat)
        for field in ("czxid", "mzxid", "pzxid"):
            shared[field] = self.zxid(stat[field])
        for field in ("ctime", "mtime"):
            shared[field] = "T" if stat[field] > 10 ** 12 else stat[field]
        shared["ephemeralOwner"] = self.names.get(stat["ephemeralOwner"], stat["ephemeralOwner"])
        return shared

    def body(self, body):
        if isinstance(body, list):
            return [(kind, err, self.body(result)) for kind, err, result in body]
        if body is None:
            return None
        shared = dict(body)
        if "stat" in shared:
            shared["stat"] = self.stat(shared["stat"])
        if "acl" in shared:
            shared["acl"] = acl(shared["acl"])
        for field in ("children", "ephemerals", "clients"):
            if shared.get(field):
                shared[field] = sorted(shared[field])
        return shared

    def reply(self, reply, events_before):
        return {"xid": reply.xid, "zxid": self.zxid(reply.zxid), "err": reply.err, "body": self.body(reply.body),
                "trailing": reply.rest.hex(), "events before": events_before}

    def events(self, client):
        taken, client.events = client.events, []
        return [(event["type"], event["path"], event["state"], self.zxid(event.zxid), event.err) for event in taken]

    # Sessions.
    def open(self, number, outcome, timeout=30000, **options):
        """A connection; notes what the handshake answered. Returns the client, or None if refused."""
        try:
            client = Client(self.address, timeout=timeout, io_timeout=IO_SECONDS, **options)
        except Closed:
            outcome.notes.append("handshake refused")
            return None
        if client.session == 0:
            outcome.notes.append(("no session", client.timeout, client.password.hex(), client.handshake_rest.hex(),
                                  client.at_end()))
            client.close()
            return None
        if self.base is None:
            self.base = client.call("ping").zxid
        self.names.setdefault(client.session, "S%d.%d" % (number, len(self.names)))
        outcome.notes.append((self.names[client.session], client.timeout, client.handshake_rest.hex(),
                              client.password == wire.session_password(client.session)))
        self.clients[number] = client
        self.known[number] = (client.session, client.password, timeout)
        return client

    def reopen(self, session, wrong_first, outcome):
        if session not in self.known:
            return self.open(session, outcome)
        identity, password, timeout = self.known[session]
        old = self.clients.pop(session, None)
        if wrong_first:
            self.open(session, outcome, timeout, session=identity, password=b"not the password")
        client = self.open(session, outcome, timeout, session=identity, password=password)
        if old is not None:
            outcome.notes.append(("old connection ended", old.at_end()))
            old.close()
        if client is None:
            self.known.pop(session, None)
        return client

    def live(self, session, outcome):
        """The session's connection; a new session if it has none."""
        return self.clients.get(session) or self.reopen(session, False, outcome) or self.open(session, outcome)

    def lose(self, session, outcome):
        outcome.closed.append(session)
        self.clients.pop(session).close()

    # Steps.
    def resolve(self, value, client):
        if isinstance(value, tuple) and len(value) == 2 and value[0] == "made":
            return self.made.get(value[1], differences.never(self.root))
        if isinstance(value, tuple) and len(value) == 2 and value[0] == "zxid":
            return client.zxid + value[1]
        if isinstance(value, list) and value and isinstance(value[0], tuple) and isinstance(value[0][0], str):
            return [tuple(self.resolve(part, client) for part in operation) for operation in value]
        return value

    def exchange(self, session, requests, outcome):
        """Send the payloads in one write and note the replies. requests: (name or None, xid, payload)"""
        client = self.live(session, outcome)
        if client is None or not requests:
            return
        outcome.events.setdefault(session, [])
        try:
            client.send_raw(b"".join(wire.frame(payload) for _, _, payload in requests))
            client.pending.extend((xid, name) for name, xid, _ in requests)
            for _ in requests:
                reply = client.recv()
                outcome.replies.append(self.reply(reply, len(client.events)))
            if reply.err in ENDING and reply.zxid <= 0:
                outcome.notes.append(("closes after %d" % reply.err, client.at_end()))
                outcome.events[session] += self.events(client)
                self.lose(session, outcome)
        except Closed:
            outcome.events[session] += self.events(client)
            self.lose(session, outcome)
        except TimeoutError:
            outcome.notes.append("no reply within %d s" % IO_SECONDS)
            self.lose(session, outcome)

    def encode(self, session, name, values, outcome):
        client = self.live(session, outcome)
        if client is None:
            return None
        xid = wire.SPECIAL_XID.get(name)
        if xid is None:
            client.xid += 1
            xid = client.xid
        return name, xid, wire.request(xid, name, *(self.resolve(value, client) for value in values))

    def barrier(self, outcome):
        """A ping on every connection: what the server had queued for it arrives first."""
        for session, client in sorted(self.clients.items()):
            try:
                client.send("ping")
            except Closed:
                pass  # seen again when reading
        for session, client in sorted(self.clients.items()):
            try:
                pong = client.recv()
                outcome.notes.append(("ping", session, self.zxid(pong.zxid), pong.err))
            except Closed:
                outcome.events.setdefault(session, []).extend(self.events(client))
                self.lose(session, outcome)
                continue
            outcome.events.setdefault(session, []).extend(self.events(client))

    def step(self, step):
        number, verb, session, *arguments = step
        outcome = Outcome()
        if verb == "open":
            if session in self.clients:
                self.clients.pop(session).close()
            self.open(session, outcome, *arguments)
        elif verb == "reopen":
            self.reopen(session, *arguments, outcome)
        elif verb == "drop":
            if session in self.clients:
                self.clients.pop(session).close()
        elif verb == "raw":
            name, body = arguments
            client = self.live(session, outcome)
            if client is not None:
                code = wire.OPERATIONS[name][0] if isinstance(name, str) else name
                xid = wire.SPECIAL_XID.get(name)
                if xid is None:
                    client.xid += 1
                    xid = client.xid
                payload = wire.pack_record(wire.REQUEST_HEADER, [xid, code]) + body
                self.exchange(session, [(name if isinstance(name, str) else None, xid, payload)], outcome)
        else:
            calls = [arguments] if verb == "call" else arguments[0]
            requests = [self.encode(session, name, values, outcome) for name, *values in calls]
            if None not in requests:
                self.exchange(session, requests, outcome)
            if verb == "call" and outcome.replies and isinstance(outcome.replies[0]["body"], dict):
                made = outcome.replies[0]["body"].get("path")
                if made:
                    self.made[number] = made
        self.barrier(outcome)
        # The nodes of a closing session go in no particular order.
        if verb == "call" and arguments[0] == "closeSession":
            for events in outcome.events.values():
                events.sort()
        return outcome

    def finish(self):
        """End all sessions and return the final trees in shared terms."""
        for session in sorted(self.clients):
            client = self.clients[session]
            try:
                client.call("closeSession")
            except Closed:
                pass
            client.close()
        # Sessions without a connection still own nodes until they expire: end them too.
        for session, (identity, password, timeout) in sorted(self.known.items()):
            if session not in self.clients:
                try:
                    client = Client(self.address, timeout=timeout, session=identity, password=password)
                    if client.session:
                        client.call("closeSession")
                    client.close()
                except Closed:
                    pass
        self.clients.clear()
        admin = Client(self.address)
        admin.ok("auth", 0, "digest", tree.SUPER.encode())
        quota = "/zookeeper/quota"
        found = tree.walk(admin, self.root) if admin.call("exists", self.root, False).err == 0 else {}
        found.update(tree.walk(admin, quota))
        for path in ("/", "/zookeeper"):
            found[path] = dict(admin.ok("getData", path, False).body, acl=admin.ok("getACL", path)["acl"])
        # What a script did to the ACLs of the nodes that stay is undone.
        for path, usual in (("/", wire.OPEN), ("/zookeeper", wire.OPEN), (quota, wire.OPEN),
                            ("/zookeeper/config", wire.READ_ONLY)):
            if admin.ok("getACL", path)["acl"] != usual:
                admin.ok("setACL", path, usual, -1)
        for path in sorted(found, key=lambda path: -path.count("/")):
            if path.startswith(self.root) or path.startswith(quota + "/"):
                admin.ok("delete", path, -1)
        admin.ok("closeSession")
        admin.close()
        return {path: {"data": node["data"], "acl": acl(node["acl"]), "stat": self.stat(node["stat"])}
                for path, node in found.items()}


def replay(address, root, steps):
    """Outcomes by step number, and the final tree."""
    run = Replay(address, root)
    outcomes = [(step, run.step(step)) for step in steps]
    return outcomes, run.finish()


