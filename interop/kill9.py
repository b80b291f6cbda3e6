"""kill -9 under write load, again and again on the same data directory."""

import tree
import wire
from report import Failure
from workload import Load, check_ledger

SHORT, LONG = 10, 100
WORKERS = 6
WRITES = 300  # acknowledged creates before each kill, varied by round
CONFIG = {"DigestAuthenticationProvider.superDigest": wire.digest_id(tree.SUPER), "snapCount": "3000",
          "maxSessionTimeout": "600000"}
KEPT_ROUNDS = 5  # rounds whose nodes stay in the tree, so that walks stay short


def kills(options):
    """kill9: no acknowledged write lost, none seen twice, over kills on one data directory"""
    rounds = LONG if options.long else SHORT
    acked, sent, total, last_zxid = {}, {}, 0, 0
    with options.subject(CONFIG) as server:
        for number in range(rounds):
            server.start()
            load = Load(server.address, "/kill%d" % number, WORKERS, seed=number)
            load.until(WRITES // 3 + (number * 97) % WRITES)
            server.kill()
            now_acked, now_sent, unexpected = load.join()
            if unexpected:
                raise Failure("round %d: %s" % (number, "\n".join(unexpected[:10])))
            acked.update(now_acked)
            sent.update(now_sent)
            total += len(now_acked)
            newest = max(worker.client.zxid for worker in load.workers)
            server.start()
            found = tree.walk_as_super(server.address)
            wrong = check_ledger(found, acked, sent)
            # Every reply carried a zxid: what comes after a restart must come after all of them.
            probe = wire.Client(server.address)
            after = probe.ok("create", "/after%d" % number, b"", wire.OPEN, 0).zxid
            if after <= newest or newest <= last_zxid:
                wrong.append("zxid %#x after %#x was answered (round before: %#x)" % (after, newest, last_zxid))
            last_zxid = after
            if wrong:
                raise Failure("round %d of %d, %d lines:\n  %s" % (
                    number, rounds, len(wrong), "\n  ".join(wrong[:15])))
            old = "/kill%d" % (number - KEPT_ROUNDS)
            if number >= KEPT_ROUNDS:
                clear(server, found, old)
                acked = {path: data for path, data in acked.items() if not path.startswith(old + "/")}
                sent = {path: data for path, data in sent.items() if not path.startswith(old + "/")}
            server.kill()
    return "%d kills, %d acknowledged creates" % (rounds, total)


def clear(server, found, root):
    client = wire.Client(server.address)
    client.ok("auth", 0, "digest", tree.SUPER.encode())
    paths = sorted((path for path in found if path == root or path.startswith(root + "/")),
                   key=lambda path: -path.count("/"))
    for start in range(0, len(paths), 100):
        batch = paths[start:start + 100]
        for path in batch:
            client.send("delete", path, -1)
        for path in batch:
            reply = client.recv()
            if reply.err not in (0, -101):
                raise Failure("delete %s: %s" % (path, reply))
