"""kazoo's own tests, from its PyPI package, against one standalone server, and against an ensemble.

`kazoo-baseline.txt` and `kazoo-baseline-3.txt` list the tests that pass against Apache 3.8.0 (each of
several runs), one server and three; the subject must pass the same. `python3 interop/kazoo_suite.py
RUNS [SERVERS]` records one of them anew.
The environment lives in $ZK_VENV, else in target/interop-venv of the checkout.
"""

import concurrent.futures
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import apache
from report import Failure, Missing
from zk import Zk

HERE = os.path.dirname(os.path.abspath(__file__))
BASELINES = {1: os.path.join(HERE, "kazoo-baseline.txt"), 3: os.path.join(HERE, "kazoo-baseline-3.txt")}
# pyOpenSSL 24.2 and later lack what kazoo's harness uses to make certificates.
PACKAGES = ["kazoo[test]==2.11.0", "pyopenssl<24.2"]
PROCESSES = {1: 6, 3: 3}  # by servers for each; the tests mostly wait
TEST_SECONDS = 60
UNIT_SECONDS = 150  # for one process with the tests of a class, should it hang past every test's own limit
PORTS = 5  # that kazoo's harness takes for a server, from its port offset on
SPACING = 10  # from one server's ports to the next one's
# Needs TLS or a SASL server, or looks at kazoo's own version.
LEFT_OUT = ["TestSSLClient"]
ATTEMPTS = 2  # kazoo's tests depend on timing: one that fails is tried once more


def directory():
    return os.environ.get("ZK_VENV") or os.path.join(os.path.dirname(HERE), "target", "interop-venv")


def python():
    """The interpreter of the environment, made and filled if need be."""
    home = directory()
    program = os.path.join(home, "bin", "python")
    line = "python3 -m venv %s && %s -m pip install %s" % (home, program, " ".join("'%s'" % p for p in PACKAGES))
    probe = "import kazoo, pytest, pytest_timeout, jks, gevent, eventlet, objgraph, OpenSSL as o; " \
            "o.crypto.X509.add_extensions; assert kazoo.__version__ == '2.11.0'"
    if os.path.exists(program) and subprocess.run([program, "-c", probe], capture_output=True).returncode == 0:
        return program
    for command in ([sys.executable, "-m", "venv", home], [program, "-m", "pip", "install", "-q"] + PACKAGES):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Missing("kazoo's tests: %s\n%s" % (line, done.stderr[-500:]))
    return program


def port_offset(taken, servers):
    """A first port with the ports of `servers` free from it on, that no other process of ours has."""
    ports = [SPACING * server + port for server in range(servers) for port in range(PORTS)]
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        if first + ports[-1] > 65535 or any(abs(first - other) <= 2 * ports[-1] for other in taken):
            continue
        try:
            for port in ports:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", first + port))
        except OSError:
            continue
        taken.append(first)
        return first


class Suite:
    def __init__(self, binary, servers):
        self.python = python()
        self.servers = servers
        self.home = tempfile.mkdtemp(prefix="interop-kazoo-")
        self.offsets = []
        shim = os.path.join(self.home, "java")
        with open(shim, "w") as out:
            out.write('#!/bin/sh\nexec "%s" "%s" "$@"\n' % (sys.executable, os.path.join(HERE, "kazoo_java.py")))
        os.chmod(shim, 0o755)
        self.environment = dict(
            os.environ, PATH=self.home + ":" + os.environ["PATH"], ZOOKEEPER_VERSION="3.8.0",
            ZOOKEEPER_CLASSPATH="unused", ZOOKEEPER_CLUSTER_SIZE=str(servers), TMPDIR=self.home)
        self.environment.pop("INTEROP_ZK", None)
        if binary:
            self.environment["INTEROP_ZK"] = binary
        else:
            self.environment["INTEROP_JAVA"] = apache.java()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.home, ignore_errors=True)

    def pytest(self, arguments, offset=0):
        """Standard output of a pytest process; it and its servers are gone afterwards."""
        environment = dict(self.environment, ZOOKEEPER_PORT_OFFSET=str(offset))
        command = [self.python, "-m", "pytest", "-p", "no:cacheprovider", "--timeout", str(TEST_SECONDS)]
        process = subprocess.Popen(command + arguments, cwd=self.home, env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, start_new_session=True)
        try:
            return process.communicate(timeout=UNIT_SECONDS)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()[0]
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise

    def units(self):
        """Classes (or lone functions) as pytest names them, with their tests: what one process runs."""
        listing = self.pytest(["--collect-only", "-q", "--pyargs", "kazoo.tests"])
        units = {}
        for line in listing.splitlines():
            if "::" in line and not any(name in line for name in LEFT_OUT):
                test = os.path.basename(line.split("::", 1)[0]) + "::" + line.split("::", 1)[1]
                parts = test.split("::")
                units.setdefault("::".join(parts[:2]), []).append(test)
        if not units:
            raise Failure("no kazoo tests found:\n" + listing[-2000:])
        return units

    def run_unit(self, unit, tests):
        """Result by test name: passed, skipped, or the message of the failure."""
        offset = port_offset(self.offsets, self.servers)
        report = os.path.join(self.home, "report-%d.xml" % offset)
        package = subprocess.run([self.python, "-c", "import kazoo.tests as t; print(t.__path__[0])"],
                                 capture_output=True, text=True, check=True).stdout.strip()
        said = self.pytest(["-v", "--junitxml", report] + [os.path.join(package, test) for test in tests], offset)
        results = {}
        if os.path.exists(report):
            for case in xml.etree.ElementTree.parse(report).iter("testcase"):
                name = "%s.py::%s::%s" % tuple(
                    ("kazoo.tests." + case.get("classname").split("tests.")[-1]).split(".")[-2:] + [case.get("name")])
                if "::test_" in unit:
                    name = unit
                verdict = "passed"
                for kind in ("failure", "error", "skipped"):
                    found = case.find(kind)
                    if found is not None:
                        verdict = "skipped" if kind == "skipped" else (found.get("message") or kind)[:300]
                if results.get(name, "passed") == "passed":
                    results[name] = verdict
                self.seconds[name] = float(case.get("time"))
        for test in tests:  # without a report, for a process that had to be ended
            done = "%s PASSED" % test in said
            results.setdefault(test, "passed" if done else "no result, the process said: " + said[-600:])
        return results

    def run(self, wanted=None):
        units = self.units()
        if wanted is not None:
            units = {unit: [test for test in tests if test in wanted] for unit, tests in units.items()}
            units = {unit: tests for unit, tests in units.items() if tests}
        results, self.seconds = {}, {}
        # The big ones first, so that none is left over at the end.
        order = sorted(units, key=lambda unit: -len(units[unit]))
        with concurrent.futures.ThreadPoolExecutor(PROCESSES[self.servers]) as pool:
            for found in pool.map(lambda unit: self.run_unit(unit, units[unit]), order):
                results.update(found)
        return results


def baseline(servers):
    with open(BASELINES[servers]) as lines:
        return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def against(servers):
    def check(options):
        wanted = baseline(servers)
        with Suite(Zk.binary if options.subject is Zk else None, servers) as kazoo:
            results = kazoo.run(wanted)
            failing = {test for test in wanted if results.get(test) != "passed"}
            for _ in range(ATTEMPTS - 1):
                if failing:
                    results.update(kazoo.run(failing))
                    failing = {test for test in failing if results.get(test) != "passed"}
        if failing:
            raise Failure("%d of %d tests fail that pass against Apache\n%s" % (len(failing), len(wanted), "\n".join(
                "  %s: %s" % (test, results.get(test, "not found")) for test in sorted(failing)[:40])))
        return "%d tests pass, as against Apache" % len(wanted)

    which = {1: "kazoo: its own test suite passes", 3: "kazoo-ensemble: the same, on three servers, passes"}[servers]
    check.__doc__ = which + " as it does against Apache 3.8.0"
    return check


def record(runs, servers):
    """Write the baseline: what passes against Apache in each of `runs` runs."""
    always = None
    with Suite(None, servers) as kazoo:
        for _ in range(runs):
            results = kazoo.run()
            passed = {test for test, verdict in results.items() if verdict == "passed"}
            for test, verdict in sorted(results.items()):
                if verdict != "passed":
                    print("%s: %s" % (test, verdict.replace("\n", " ")[:200]))
            print("%d of %d passed" % (len(passed), len(results)), flush=True)
            always = passed if always is None else always & passed
        slow = sorted(kazoo.seconds.items(), key=lambda item: -item[1])[:10]
    print("\n".join("%6.1f s %s" % (seconds, test) for test, seconds in slow))
    with open(BASELINES[servers], "w") as out:
        out.write("# kazoo 2.11.0: tests that pass against Apache ZooKeeper 3.8.0, %s, without TLS and SASL.\n" % (
            {1: "standalone", 3: "three servers"}[servers]))
        out.write("\n".join(sorted(always)) + "\n")


if __name__ == "__main__":
    record(*[int(word) for word in (sys.argv[1:] + ["3", "1"][len(sys.argv) - 1:])])
