"""Four-letter words: what they count is what Apache counts."""

import re
import time

import txnlog
from apache import Apache
from ensemble import SERVERS, Ensemble
from report import Failure
from wire import CONTAINER, EPHEMERAL, OPEN, Client

SETTLE_SECONDS = 5

# Keys of mntr that depend on requests alone.
ALIKE = """
server_state ephemerals_count num_alive_connections outstanding_requests znode_count watch_count global_sessions
local_sessions packets_received packets_sent last_client_response_size max_client_response_size min_client_response_size
connection_drop_probability auth_failed_count approximate_data_size watch_bytes connection_rejected
sessionless_connections_expired digest_mismatches_count bytes_received_count connection_request_count response_bytes
connection_revalidate_count stale_sessions_expired cnt_fsynctime cnt_sync_processor_batch_size
avg_sync_processor_batch_size min_sync_processor_batch_size max_sync_processor_batch_size
sum_sync_processor_batch_size cnt_updatelatency cnt_readlatency cnt_snapshottime cnt_dbinittime
cnt_startup_txns_loaded cnt_startup_txns_load_time cnt_startup_snap_load_time
""".split()

# Keys whose values are times or the machine's, which must be there and be numbers.
NUMBERS = """
avg_latency min_latency max_latency uptime max_file_descriptor_count open_file_descriptor_count
connection_drop_count avg_fsynctime min_fsynctime max_fsynctime sum_fsynctime avg_updatelatency min_updatelatency
max_updatelatency sum_updatelatency avg_readlatency min_readlatency max_readlatency sum_readlatency avg_dbinittime
sum_startup_txns_loaded avg_snapshottime avg_startup_txns_load_time avg_startup_snap_load_time
""".split()

# Keys of mntr on a leader that depend on its ensemble and on requests alone.
LEADING = """
server_state peer_state quorum_size learners synced_followers synced_observers last_proposal_size max_proposal_size
min_proposal_size
""".split()


def mntr(server):
    """What mntr says by key; nothing while the server does not serve."""
    told = server.four_letter("mntr")
    if told.startswith("This ZooKeeper instance is not currently serving requests"):
        return {}
    lines = [line.split("\t", 1) for line in told.splitlines()]
    return {key.removeprefix("zk_"): value for key, value in lines}


def connection(server, client, sent):
    """The fields of the client's line in cons, once all of its `sent` replies are counted there."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        for line in server.four_letter("cons").splitlines():
            fields = dict(field.split("=") for field in re.findall(r"\w+=[^,)]*", line))
            if fields.get("sid") == "0x%x" % client.session:
                if int(fields["sent"]) == sent and fields["queued"] == "0":
                    return fields
                if time.monotonic() > deadline:
                    raise Failure("%s: %d replies were sent, and cons says: %s" % (server.name, sent, line))
        if time.monotonic() > deadline:
            raise Failure("%s: cons does not show %#x" % (server.name, client.session))


def requests():
    """Requests of each kind: name and values, and whether they fail."""
    none = (0, [], [], [])
    return [
        ("create", "/a", b"one", OPEN, 0), ("create", "/a", b"one", OPEN, 0), ("create2", "/a/b", b"", OPEN, EPHEMERAL),
        ("createContainer", "/c", b"", OPEN, CONTAINER), ("exists", "/a", True), ("exists", "/none", True),
        ("getData", "/a", True), ("getData", "/none", False), ("getChildren", "/a", True),
        ("getChildren2", "/", False), ("getACL", "/a"), ("getAllChildrenNumber", "/"), ("getEphemerals", "/"),
        ("whoAmI",), ("ping",), ("setData", "/a", b"three", -1), ("setData", "/a", b"", 77),
        ("setACL", "/a", OPEN, -1), ("setACL", "/none", OPEN, -1), ("sync", "/a"),
        ("multi", [("create", "/m", b"", OPEN, 0), ("check", "/a", -1)]), ("multi", [("check", "/none", -1)]),
        ("multiRead", [("getData", "/a", False), ("getChildren", "/none", False)]),
        ("addWatch", "/a", 0), ("checkWatches", "/a", 3), ("removeWatches", "/a", 3), ("removeWatches", "/a", 3),
        ("setWatches",) + none, ("setWatches2",) + none + ([], []), ("auth", 0, "digest", b"user:password"),
        ("delete", "/a/b", -1), ("delete", "/none", -1), ("reconfig", None, None, None, -1), ("ping",),
    ]


def tour(kind):
    """Every request once; what cons says after each, and mntr in the end."""
    with kind() as server:
        server.start()
        first = Client(server.address)
        # Snapshots and loading belong to the start.
        began = mntr(server)
        server.four_letter("srst")
        client, seen, sent = Client(server.address), [], 1
        for name, *values in requests():
            client.call(name, *values)
            sent += 1 + len(client.events)
            client.events.clear()
            fields = connection(server, client, sent)
            zxid = int(fields["lzxid"], 16) - first.zxid if "lzxid" in fields else None
            seen.append((name, {key: fields.get(key) for key in ("queued", "recved", "lop", "to", "lcxid")}, zxid))
        back = Client(server.address, session=first.session, password=first.password)
        back.call("ping")
        asked = server.four_letter("srvr")
        told = mntr(server)
        # Each look at cons is a word, too, and there were as many as it took.
        words = int(told["packets_received"]) - sum(1 for _ in requests()) - 3
        for key in ("packets_received", "packets_sent"):
            told[key] = int(told[key]) - words
        told["bytes_received_count"] = int(told["bytes_received_count"]) - 4 * words
        told.update({key: began[key] for key in ALIKE if re.search("startup|snapshottime|dbinit", key)})
        summary = server.four_letter("wchs")
        server.four_letter("crst")
        after = [line for line in server.four_letter("cons").splitlines() if "0x%x" % client.session in line]
        return {"cons": seen, "mntr": told, "srvr": re.sub(r"(Latency|Received|Sent|Zookeeper version).*", "", asked),
                "wchs": summary, "crst": re.sub(r"\d{5,}|0x\w{9,}|\[\d\]", "", after[0])}


def alike(options):
    """words-alike: cons after each kind of request, mntr, srvr and wchs after all of them"""
    ours, theirs = tour(options.subject), tour(Apache)
    for mine, expected in zip(ours["cons"], theirs["cons"]):
        if mine != expected:
            raise Failure("cons after %s: %r, Apache says %r" % (mine[0], mine[1:], expected[1:]))
    wrong = ["%s: %s, Apache says %s" % (key, ours["mntr"].get(key), theirs["mntr"][key])
             for key in ALIKE if ours["mntr"].get(key) != theirs["mntr"][key]]
    wrong += ["%s: %s is no number" % (key, ours["mntr"].get(key)) for key in NUMBERS
              if not re.fullmatch(r"-?\d+(\.\d+)?", ours["mntr"].get(key) or "") or key not in theirs["mntr"]]
    unknown = set(ours["mntr"]) - set(theirs["mntr"])
    if unknown:
        wrong.append("Apache does not know %s" % ", ".join(sorted(unknown)))
    for word in ("srvr", "wchs", "crst"):
        if ours[word] != theirs[word]:
            wrong.append("%s: %r, Apache says %r" % (word, ours[word], theirs[word]))
    if wrong:
        raise Failure("; ".join(wrong))
    return "%d requests, %d keys" % (len(ours["cons"]), len(ALIKE) + len(NUMBERS))


def led(kind):
    """What a leader of three says before and after some requests."""
    letter = next(letter for letter, of in SERVERS.items() if of is kind)
    with Ensemble(3 * letter) as ensemble:
        ensemble.start()
        leader, said = ensemble.wait(), []
        wait_for_learners(leader)
        clients = {"leader": leader, "a follower": next(s for s in ensemble.servers if s is not leader)}
        for number, (through, server) in enumerate([("nobody", None), *clients.items()]):
            if server is not None:
                client = Client(server.address)
                for name, *values in requests():
                    if name != "ping":
                        client.call(name, *[v.replace("/", "/%d" % number) if v in ("/a", "/a/b") else v for v in values])
                client.close()
            told = mntr(leader)
            if not re.fullmatch(r"\d+(\.0)?", told.get("leader_uptime", "")):
                raise Failure("%s: leader_uptime is %s" % (leader.name, told.get("leader_uptime")))
            sizes = [line for line in leader.four_letter("srvr").splitlines() if line.startswith("Proposal sizes")]
            said.append((through, {key: told.get(key) for key in LEADING}, sizes))
            follower = clients["a follower"].four_letter("srvr")
            if "Proposal sizes" in follower:
                raise Failure("%s: a follower tells of proposals: %s" % (leader.name, follower))
        return said


def wait_for_learners(leader):
    deadline = time.monotonic() + SETTLE_SECONDS
    while mntr(leader).get("synced_followers") != "2":
        if time.monotonic() > deadline:
            raise Failure("%s: %s followers" % (leader.name, mntr(leader).get("synced_followers")))
        time.sleep(0.05)  # nobody tells when a learner is synced


def leader(options):
    """words-leader: a leader's mntr and srvr before and after writes through it and through a follower"""
    for mine, expected in zip(led(options.subject), led(Apache)):
        if mine != expected:
            raise Failure("after requests of %s: %r, Apache says %r" % (mine[0], mine[1:], expected[1:]))
    return "%d keys" % len(LEADING)


def hashes(options):
    """words-hash: hash shows the digests that the log has, also after a restart"""
    with options.subject() as server:
        client = Client(server.start().address)
        for number in range(300):
            client.ok("create", "/%d" % number, b"", OPEN, 0)
        digests = {txn.zxid: txn.digest["tree"] for txn in txnlog.read(server.data) if txn.digest}
        expected = "".join("%x: %d\n" % (zxid, digests[zxid]) for zxid in (128, 256))
        for when in ("", " after a restart"):
            shown = server.four_letter("hash")
            if shown != expected:
                raise Failure("hash%s: %r, the log has %r" % (when, shown, expected))
            if not when:
                server.stop()
                server.start()
    return "2 digests"
