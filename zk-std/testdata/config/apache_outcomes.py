#!/usr/bin/env python3
"""Runs Apache ZooKeeper on the files of cases.txt and writes what it did into it.

    python3 apache_outcomes.py ['part of a name' ...]

Needs Linux, root (every server gets a network of its own, so that ports are free) and Debian's
package zookeeper (3.8.0). A case takes a second.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
STARTED = {"INFO Using checkIntervalMs=": "starts", "INFO LOOKING": "quorum"}


def outcome(files, directory):
    options = []
    for name, content in files:
        content = content.replace("$DIR", directory)
        if name == "options":
            options = ["-D" + line for line in content.splitlines()]
            continue
        if content.endswith("\n\n"):
            content = content[:-2]
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(content)
    java = ["java", "-XX:TieredStopAtLevel=1", "-Dzookeeper.admin.enableServer=false"]
    java += [f"-Dorg.slf4j.simpleLogger.{show}=false" for show in ("showThreadName", "showLogName")]
    java += options
    java += ["-cp", "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar"]
    java += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", f"{directory}/zoo.cfg"]
    network = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    server = subprocess.Popen(
        network + java, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = threading.Timer(60, server.kill)
    deadline.start()
    log = ""
    try:
        for line in server.stdout:
            line = line.decode("utf-8", "replace")
            log += line
            for mark, started in STARTED.items():
                if line.startswith(mark):
                    return started, log
        return f"exits {server.wait()}", log
    finally:
        deadline.cancel()
        server.kill()
        server.wait()


def main():
    path = os.path.join(HERE, "cases.txt")
    with open(path, encoding="utf-8") as file:
        head, *cases = re.split(r"^(?==== )", file.read(), flags=re.M)
    out = head
    for case in cases:
        name = case.split("\n", 1)[0][4:]
        if len(sys.argv) > 1 and not any(part in name for part in sys.argv[1:]):
            out += case
            continue
        body, answer = case.split("--- apache: ", 1)
        files = re.findall(r"^--- (\S+)\n(.*?)(?=^--- |\Z)", body, flags=re.M | re.S)
        directory = tempfile.mkdtemp()
        try:
            did, log = outcome(files, directory)
        finally:
            shutil.rmtree(directory)
        print(f"{did}: {name}", flush=True)
        if len(sys.argv) > 1:
            print(log)
        out += body + "--- apache: " + re.sub(r"^[^;\n]*", did, answer, count=1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(out)


main()
