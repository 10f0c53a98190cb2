"""Fetches the jars of one Java MultiLangDaemon from Maven Central, without Maven: fetch.py VERSION FOLDER.

Which jars, and their digests, is in jars.txt beside this file. Standard library only.
"""

import hashlib
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CENTRAL = "https://repo.maven.apache.org/maven2/"


def wanted(version):
    for line in Path(__file__).with_name("jars.txt").read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        digest, path, versions = line.split()
        if version in versions.split(","):
            yield digest, path


def fetch(digest, path, folder):
    with urllib.request.urlopen(CENTRAL + path, timeout=60) as answer:
        body = answer.read()
    if hashlib.sha256(body).hexdigest() != digest:
        raise SystemExit(f"{CENTRAL}{path} is not the file that jars.txt describes")
    (folder / path.rsplit("/", 1)[1]).write_bytes(body)


def main():
    version, folder = sys.argv[1], Path(sys.argv[2])
    jars = list(wanted(version))
    if not jars:
        raise SystemExit(f"jars.txt has no daemon {version}")
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(fetch, digest, path, folder) for digest, path in jars]:
            done.result()


main()
