"""Sessions that only their server knows of, and servers that can only be read: as Apache's.

The same script runs on ensembles of Apache's servers, of ours, and of both; what is answered is
compared.
"""

import time

import tree
import wire
from ensemble import SERVE_SECONDS, Ensemble
from report import Failure
from server import four_letter
from wire import EPHEMERAL, OPEN, Client, Closed

LOCAL = {"localSessionsEnabled": "true"}
UPGRADING = dict(LOCAL, localSessionsUpgradingEnabled="true")
READ_ONLY = {"readonlymode.enabled": "true"}


def asked(client, *request):
    """What a request is answered, in shared terms."""
    try:
        reply = client.call(*request)
    except Closed:
        return "closed"
    body = [error for error, *_ in reply.body] if request[0] == "multi" and reply.body else None
    return reply.err, body


def known(server):
    """How many sessions a server knows, by kind."""
    lines = dict(line.split("\t", 1) for line in four_letter(server.port, "mntr").splitlines())
    return lines["zk_local_sessions"], lines["zk_global_sessions"]


def sessions(kinds, config):
    """What clients of each server see, in order."""
    facts = []
    with Ensemble(kinds, config) as ensemble:
        ensemble.start()
        for server in ensemble.servers:
            def note(what, fact):
                facts.append(("server %d, %s" % (server.id, what), fact))
            root = "/s%d" % server.id
            client = Client(server.address)
            note("a session", known(server))
            note("create", asked(client, "create", root, b"", OPEN, 0))
            note("multi", asked(client, "multi", [("create", root + "/m", b"", OPEN, 0), ("check", root, 0)]))
            note("setData", asked(client, "setData", root, b"x", -1))
            note("sync", asked(client, "sync", root))
            note("watch", asked(client, "getData", root, True))
            note("still", known(server))
            note("ephemeral", asked(client, "create", root + "/e", b"", OPEN, EPHEMERAL))
            note("another", asked(client, "create2", root + "/f", b"", OPEN, EPHEMERAL))
            note("in a multi", asked(client, "multi", [("create", root + "/g", b"", OPEN, EPHEMERAL)]))
            note("then", known(server))
            reply = client.call("exists", root + "/e", False)
            note("its owner", reply.err == 0 and reply["stat"]["ephemeralOwner"] == client.session)
            again = Client(server.address, session=client.session, password=client.password)
            note("again", again.session == client.session)
            note("goes on", asked(again, "getData", root, False))
            note("closeSession", asked(again, "closeSession"))
            client = Client(server.address)
            client.ok("sync", "/")
            note("what is left", sorted(client.ok("getChildren", root, False)["children"]))
            gone = Client(server.address, session=again.session, password=again.password)
            note("a session that is over", gone.session)
            note("its end", asked(client, "closeSession"))
            note("in the end", known(server))
    return facts


def reading(kinds, config):
    """What clients of a server without a leader see, and what becomes of them when it has one."""
    facts = []

    def note(*fact):
        facts.append(fact)

    with Ensemble(kinds, dict(config, reconfigEnabled="true")) as ensemble:
        for server in ensemble.servers:
            server.properties.update(READ_ONLY)
        ensemble.start()
        server, others = ensemble.servers[0], ensemble.servers[1:]
        client = Client(server.address)
        client.ok("create", "/a", b"here", OPEN, 0)
        admin = Client(server.address)
        admin.ok("create", "/a/b", b"", OPEN, 0)
        for other in others:
            other.kill()
        until(server, "ro")
        for key in ("Mode", "Node count"):
            note(key, [line for line in four_letter(server.port, "srvr").splitlines() if line.startswith(key)])
        note("who has not asked for it", connects(server))
        note("a session of the ensemble's", connects(server, session=client.session, password=client.password,
                                                     read_only=True))
        note("who has", connects(server, read_only=True))
        if config.get("localSessionsEnabled"):
            reader = Client(server.address, read_only=True)
            reader.ok("auth", 0, "digest", tree.SUPER.encode())
            for request in (
                    ("getData", "/a", True), ("exists", "/b", True), ("getChildren2", "/a", False), ("getACL", "/a"),
                    ("create", "/b", b"", OPEN, 0), ("create2", "/b", b"", OPEN, 0), ("delete", "/a/b", -1),
                    ("setData", "/a", b"", -1), ("setACL", "/a", OPEN, -1), ("sync", "/"), ("ping",),
                    ("multi", [("delete", "/a/b", -1)]), ("createContainer", "/c", b"", OPEN, wire.CONTAINER),
                    ("createTTL", "/t", b"", OPEN, wire.TTL, 1000), ("reconfig", None, "2", None, -1),
                    ("getEphemerals", "/"), ("getAllChildrenNumber", "/"), ("whoAmI",)):
                note(request, asked(reader, *request))
            note("known", known(server)[0])
            again = Client(server.address, session=reader.session, password=reader.password, read_only=True)
            note("again", again.session == reader.session)
            note("closeSession", asked(again, "closeSession"))
            note("known", known(server)[0])
            last = Client(server.address, read_only=True)
            ensemble.start(others)
            note("sent away", last.at_end())
            note("expired", connects(server, session=last.session, password=last.password))
    return facts


def connects(server, **how):
    """What becomes of a handshake: closed, refused, or a session, and what is said of reading only."""
    try:
        client = Client(server.address, **how)
    except Closed:
        return "closed"
    answer = (client.session != 0, client.handshake_rest)
    client.close()
    return answer


def until(server, said):
    """Waits until a server says so of itself."""
    deadline = time.monotonic() + SERVE_SECONDS
    while True:
        try:
            if four_letter(server.port, "isro", timeout=2) == said:
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise Failure("server %d does not say %s" % (server.id, said))
        time.sleep(0.05)  # a server that does not serve gives no event to wait for


def same(what, facts, as_facts):
    wrong = ["%s: %s, and Apache %s" % (fact[0], fact[1:], apache[1:])
             for fact, apache in zip(facts, as_facts) if fact != apache]
    if wrong or len(facts) != len(as_facts):
        raise Failure("%s, %d differ:\n  %s" % (what, len(wrong), "\n  ".join(wrong)))
    return len(facts)


def alike(_options):
    """local: sessions of one server, and those that become the ensemble's, are answered as by Apache"""
    count = 0
    for config in (LOCAL, UPGRADING):
        expected = sessions("aaa", config)
        for kinds in ("zzz", "azz", "zaa"):
            count += same("%s with %s" % (kinds, sorted(config)), sessions(kinds, config), expected)
    return "%d answers" % count


def read_only(_options):
    """read-only: a server without a leader answers as Apache's"""
    return "%d answers" % same("read-only", reading("zzz", LOCAL), reading("aaa", LOCAL))
