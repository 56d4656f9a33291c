"""Test `make demo` in a fresh clone: three addresses, one curl, Ctrl-C, and again."""

import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.documented import blocks_of

ROOT = Path(__file__).resolve().parent.parent
READY = "Ctrl-C stops all of it"
TIMEOUT = 300  # seconds


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fresh clone, with an `.env` for production that the demo must ignore."""
    target = tmp_path_factory.mktemp("newcomer") / "groupsite"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)
    (target / ".env").write_text("DEBUG=False\nNUM_PROXIES=1\nALLOWED_HOSTS=example.com\n")
    return target


def newcomer() -> dict[str, str]:
    """Return an environment without what a `make` that runs these tests hands on."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME", "LANG"} or name.startswith("PIP_")
    }


@contextmanager
def demo(clone: Path, port: int) -> Iterator[str]:
    """Run `make demo`, yield what it printed, and end it as Ctrl-C does."""
    log = clone / "demo.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*first_command(), f"PORT={port}"],
            cwd=clone,
            env=newcomer(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + TIMEOUT
        while READY not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield log.read_text()
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=20)


def first_command() -> list[str]:
    """Return the command that the READMEs begin with."""
    test = "e2e/test_demo.py::test_make_demo_serves_what_it_prints_and_can_be_run_again"
    english, chinese = (shlex.split(block.code, comments=True) for block in blocks_of(test))
    assert english == chinese
    return english


def addresses(printed: str) -> list[str]:
    found = re.findall(r"^ +(http://\S+)$", printed, re.MULTILINE)
    assert len(found) == 3, printed
    return found


def use(link: str) -> int:
    """Press the button of a sign-in link; return the status of what is answered."""
    with requests.Session() as browser:
        page = browser.get(link, timeout=10).text
        token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page)
        if token is None:
            return browser.get(link, timeout=10).status_code
        body = {"csrfmiddlewaretoken": token[1]}
        return browser.post(link, body, timeout=10, allow_redirects=False).status_code


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_make_demo_serves_what_it_prints_and_can_be_run_again(clone: Path) -> None:
    port = free_port()
    with demo(clone, port) as printed:
        sign_in, ranking, docs = addresses(printed)
        assert requests.get(sign_in, timeout=10).status_code == 200
        assert "<button" in requests.get(sign_in, timeout=10).text  # a GET does not use it up
        assert "五百人大群" in requests.get(ranking, timeout=10).text
        assert "swagger-ui" in requests.get(docs, timeout=10).text
        time.sleep(1)  # links that are made within one second are the same
        made = subprocess.run(
            ["make", "signin"], cwd=clone, env=newcomer(), capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr
        another = made.stdout.split()[-1]
        assert another.startswith(f"http://127.0.0.1:{port}/sign-in/") and another != sign_in
        assert use(sign_in) == 302 and use(another) == 410  # the first ends all made before
        assert "make signin" in requests.get(sign_in, timeout=10).text
        [curl] = re.findall(r"^ +(curl .+)$", printed, re.MULTILINE)
        for _again in range(2):
            completed = subprocess.run(curl, shell=True, capture_output=True, text=True, check=True)
            assert '"token":"' in completed.stdout
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "Ctrl-C left something running"
    with demo(clone, port) as printed:
        assert all(requests.get(url, timeout=10).status_code == 200 for url in addresses(printed))
