"""The same random scripts to Apache and to the subject, compared fact by fact."""

import collections
import concurrent.futures
import random

import differences
import tree
import wire
from apache import Apache
from replay import replay
from report import Failure
from script import Script

CONFIG = {"DigestAuthenticationProvider.superDigest": wire.digest_id(tree.SUPER), "enforceQuota": "true",
          "forceSync": "no"}
PROPERTIES = {"znode.container.checkIntervalMs": 2 * 10 ** 9}  # each would reap at moments of its own
LENGTH = 50
SHORT, LONG = 200, 10000
REPORTED = 3  # failing seeds before giving up; the first is shrunk and explained
SHRINK_RUNS = 60
SHOWN = 160  # characters of a value in a transcript


class Pair:
    """Apache and the subject, started afresh whenever their histories may have parted."""

    def __init__(self, subject):
        self.servers = [Apache(CONFIG, PROPERTIES), subject(CONFIG, PROPERTIES)]
        self.pool = concurrent.futures.ThreadPoolExecutor(2)

    def __enter__(self):
        list(self.pool.map(lambda server: server.start(), self.servers))
        return self

    def __exit__(self, *_):
        self.pool.shutdown()
        for server in self.servers:
            server.close()

    def replay(self, root, steps):
        return list(self.pool.map(lambda server: replay(server.address, root, steps), self.servers))


def compare(root, left, right, explained, restricted):
    """The first step with an unexplained difference: (step, [(fact, apache, ours)]), or None."""
    context = differences.Knowledge(root, restricted)
    for (step, one), (_, two) in zip(left[0], right[0]):
        context.begin(step, one)
        found = differing(dict(one.facts()), dict(two.facts()), context, explained)
        if found:
            return step, found
    lines = tree.differences(left[1], right[1])
    if lines:
        return "the final tree", [(line, "", "") for line in lines]
    return None


def differing(one, two, context, explained):
    found = []
    for fact in list(one) + [fact for fact in two if fact not in one]:
        apache, ours = one.get(fact, "absent"), two.get(fact, "absent")
        if apache == ours:
            continue
        for reason in differences.EXPLAINED:
            if "absent" not in (apache, ours) and reason(fact, apache, ours, context):
                explained[reason.__name__] += 1
                break
        else:
            found.append((fact, apache, ours))
    return found


def shrink(subject, root, steps):
    """Fewer steps that still differ, by leaving out ever smaller runs of them."""
    runs = 0

    def differs(candidate):
        nonlocal runs
        runs += 1
        with Pair(subject) as pair:
            return compare(root, *pair.replay(root, candidate), collections.Counter(), set()) is not None

    size = max(1, len(steps) // 2)
    while size and runs < SHRINK_RUNS:
        at = 0
        while at < len(steps) and runs < SHRINK_RUNS:
            candidate = steps[:at] + steps[at + size:]
            if differs(candidate):
                steps = candidate
            else:
                at += size
        size //= 2
    return steps


def brief(value):
    """A value for a reader: long byte strings by their length."""
    if isinstance(value, bytes) and len(value) > 40:
        return "<%d bytes>" % len(value)
    if isinstance(value, (tuple, list)):
        inside = ", ".join(brief(part) for part in value)
        return "(%s)" % inside if isinstance(value, tuple) else "[%s]" % inside
    if isinstance(value, dict):
        return "{%s}" % ", ".join("%s: %s" % (key, brief(part)) for key, part in value.items())
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def parted(found):
    """Where the two part: the step, and what each answers."""
    lines = ["  " + brief(found[0])]
    for fact, apache, ours in found[1][:10]:
        lines.append("    %s" % fact)
        if apache != ours:
            lines.append("      apache: " + brief(apache))
            lines.append("      ours:   " + brief(ours))
    return lines


def transcript(made, first, subject):
    """What to read when a script fails: the steps left, and where the two part."""
    lines = ["seed %d, when it was found:" % made.seed] + parted(first)
    steps = shrink(subject, made.root, made.steps)
    with Pair(subject) as pair:
        left, right = pair.replay(made.root, steps)
    found = compare(made.root, left, right, collections.Counter(), set())
    if found is None:
        return "\n".join(lines + ["it did not differ again, alone on fresh servers (%d steps)" % len(steps)])
    lines.append("seed %d, %d steps left:" % (made.seed, len(steps)))
    for step, _ in left[0]:
        if step == found[0]:
            break
        lines.append("  " + brief(step))
    return "\n".join(lines + parted(found))


def scripts(options):
    """differential: random scripts, replies and trees alike"""
    subject = options.subject
    if options.seed is not None:
        seeds = [options.seed]
    elif options.long:
        # Other scripts each time; the seeds are told before anything can go wrong.
        first = random.randrange(1, 2 ** 31)
        seeds = range(first, first + LONG)
        print("differential: seeds %d to %d" % (seeds[0], seeds[-1]), flush=True)
    else:
        seeds = range(1, SHORT + 1)
    explained, failed, steps = collections.Counter(), [], 0
    pending = list(seeds)
    while pending and len(failed) < REPORTED:
        restricted = set()
        with Pair(subject) as pair:
            while pending:
                seed = pending.pop(0)
                made = Script(seed, LENGTH)
                steps += len(made.steps)
                found = compare(made.root, *pair.replay(made.root, made.steps), explained, restricted)
                if found is not None:
                    failed.append((made, found))
                    break  # histories parted: start both afresh
    if failed:
        raise Failure("seeds %s (run one with --only differential --seed N)\n%s" % (
            [made.seed for made, _ in failed], transcript(*failed[0], subject)))
    return "%d scripts, %d steps, explained differences: %s" % (
        len(seeds), steps, dict(explained) or "none")


def listed(options):
    """differential-listed: each difference on the list is exactly as stated"""
    wrong = []
    ours_is_apache = options.subject is Apache
    for name, (perform, apache, ours, _) in differences.OBSERVED.items():
        for kind, expected in ((Apache, apache), (options.subject, apache if ours_is_apache else ours)):
            with kind(CONFIG) as server:
                seen = perform(server.start())
            if seen != expected:
                wrong.append("%s: %s answers %r, the list says %r" % (name, kind.name, seen, expected))
            if ours_is_apache:
                break
    if wrong:
        raise Failure("\n".join(wrong))
    return "%d differences" % len(differences.OBSERVED)
