"""Data directories go from Apache to the subject and back."""

import gzip
import json
import os
import shutil
import tarfile
import tempfile

import capture
import tree
import txnlog
import wire
from apache import Apache
from report import Failure
from wire import Client
from workload import Load, check_ledger

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURE = os.path.join(HERE, "fixtures", "apache-3.8.0-standalone")
CONFIG = {"DigestAuthenticationProvider.superDigest": wire.digest_id(tree.SUPER), "snapCount": "400",
          "maxSessionTimeout": "600000"}
SHOWN = 12
HANDOVERS = 10
WORKERS = 4
WRITES = 200  # acknowledged creates before each kill
KINDS = {1, 2, 5, 7, 14, 15, 19, 20, 21, -1, -10, -11}


def fail_if(lines, about):
    if lines:
        more = ["and %d more" % (len(lines) - SHOWN)] if len(lines) > SHOWN else []
        raise Failure("\n  ".join([about] + lines[:SHOWN] + more))


def show(kind, data, config=CONFIG):
    """The tree that a server of this kind shows of a copy of `data`."""
    home = tempfile.mkdtemp(prefix="interop-show-")
    try:
        shutil.copytree(data, os.path.join(home, "data"))
        with kind(config, home=home) as server:
            return tree.walk_as_super(server.start().address)
    finally:
        shutil.rmtree(home)


def digest_mismatches(server):
    for line in server.four_letter("mntr").splitlines():
        if line.startswith("zk_digest_mismatches_count"):
            return int(line.split("\t")[1])
    raise Failure("mntr of %s has no zk_digest_mismatches_count" % server.name)


def fixture(options):
    """files-fixture: a directory that Apache left is shown exactly, sessions included"""
    with gzip.open(FIXTURE + ".json.gz", "rt") as text:
        recorded = json.load(text)
    with options.subject(dict(CONFIG, snapCount=100000)) as server:
        with tarfile.open(FIXTURE + ".tgz") as archive:
            archive.extractall(server.home, filter="data")
        server.start()
        expected, found = tree.from_json(recorded["dump"]), tree.walk_as_super(server.address)
        fail_if(tree.differences(expected, found), "recorded | shown")
        for identity, password, owned in recorded["sessions"]:
            client = Client(server.address, timeout=600000, session=identity, password=bytes.fromhex(password))
            if client.session != identity:
                raise Failure("session %#x is gone" % identity)
            client.ok("closeSession")
            if Client(server.address).call("exists", owned, False).err != -101:
                raise Failure("%s outlived its session" % owned)
        mismatches = digest_mismatches(server)
    if mismatches:
        raise Failure("%d digest mismatches while loading" % mismatches)
    return "%d nodes, %d sessions" % (len(found), len(recorded["sessions"]))


def every_kind(options):
    """files-every-txn: each kind of transaction, written by one and replayed by the other"""
    told, shown = {}, {}
    for writer, reader in ((Apache, options.subject), (options.subject, Apache)):
        with writer(dict(capture.CONFIG, maxSessionTimeout=600000), {"znode.container.checkIntervalMs": "300"}) as server:
            capture.write_every_kind(server.start())
            before = tree.walk_as_super(server.address)
            server.kill()
            told[writer] = txnlog.read(server.data)
            shown[writer] = before
            after = show(reader, server.data)
        fail_if(tree.differences(before, after), "%s wrote | %s shows" % (writer.name, reader.name))
        kinds = {txn.type for txn in told[writer]}
        fail_if(["type %d is missing" % kind for kind in sorted(KINDS - kinds)], "%s's log" % writer.name)
    inside = {kind for txn in told[options.subject] if txn.type == txnlog.MULTI for kind, _ in txn.body}
    if 15 in inside:
        raise Failure("create2 (15) inside a multi: 3.8.0 drops what follows it")
    lines = []
    for one, two in zip(told[Apache], told[options.subject]):
        for part in ("cxid", "zxid", "type", "body"):
            if getattr(one, part) != getattr(two, part):
                lines.append("zxid %#x %s: %r | %r" % (one.zxid, part, getattr(one, part), getattr(two, part)))
        if (one.digest is None) != (two.digest is None):
            lines.append("zxid %#x digest: %s | %s" % (one.zxid, one.digest, two.digest))
    if len(told[Apache]) != len(told[options.subject]):
        lines.append("%d transactions | %d" % (len(told[Apache]), len(told[options.subject])))
    fail_if(lines, "logs of the same requests, apache | %s" % options.subject.name)
    return "%d transactions, kinds %s" % (len(told[Apache]), sorted(KINDS))


def compressed(options):
    """files-compressed: snapshots in gz and snappy, and the plain one, are shown exactly"""
    golden = os.path.join(HERE, "golden", "files")
    with open(os.path.join(golden, "tree.json")) as text:
        expected = tree.from_json(json.load(text))
    for suffix in ("", ".gz", ".snappy"):
        data = tempfile.mkdtemp(prefix="interop-golden-")
        try:
            os.mkdir(os.path.join(data, "version-2"))
            name = "snapshot.13" + suffix
            shutil.copy(os.path.join(golden, name), os.path.join(data, "version-2", name))
            config = dict(CONFIG, **{"snapshot.compression.method": suffix[1:]}) if suffix else CONFIG
            found = show(options.subject, data, config)
        finally:
            shutil.rmtree(data)
        fail_if(tree.differences(expected, found), "%s: recorded | shown" % name)
    return "3 snapshots"


def handovers(options):
    """files-handovers: ten times back and forth under load with kill -9"""
    home = tempfile.mkdtemp(prefix="interop-handover-")
    acked, sent, mismatches = {}, {}, 0
    try:
        for turn in range(HANDOVERS + 1):
            kind = (Apache, options.subject)[turn % 2]
            with kind(CONFIG, home=home) as server:
                server.start()
                load = Load(server.address, "/turn%d" % turn, WORKERS, seed=turn)
                load.until(WRITES)
                mismatches = digest_mismatches(server)
                server.kill()
            now_acked, now_sent, unexpected = load.join()
            fail_if(unexpected, "turn %d on %s" % (turn, kind.name))
            acked.update(now_acked)
            sent.update(now_sent)
            if mismatches:
                raise Failure("turn %d: %d digest mismatches on %s" % (turn, mismatches, kind.name))
            left = show(Apache, os.path.join(home, "data"))
            right = show(options.subject, os.path.join(home, "data"))
            fail_if(tree.differences(left, right), "turn %d, written by %s: apache | %s" % (
                turn, kind.name, options.subject.name))
            fail_if(check_ledger(left, acked, sent), "turn %d, written by %s" % (turn, kind.name))
    finally:
        shutil.rmtree(home)
    return "%d hand-overs, %d acknowledged creates, %d nodes at the end" % (HANDOVERS, len(acked), len(left))
