"""What pages of the documentation say to run, and how to run it with stand-ins for a server."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.servers import ROOT

BLOCK = re.compile(r"^```sh\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def blocks_of(page: str) -> list[str]:
    return BLOCK.findall((ROOT / "docs" / page).read_text())


def run_block(
    block: str, folder: Path, environment: Mapping[str, str], paths: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run a block in the project's folder; `paths` stand in for those of a server, and programs in
    `folder`/bin for its own.
    """
    for path, instead in paths.items():
        block = block.replace(path, instead)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=ROOT,
        env={**environment, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def stand_in(folder: Path, name: str, code: str) -> None:
    """Put a program into `folder`/bin, in Python."""
    tool = folder / "bin" / name
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f"#!{sys.executable}\n{code}")
    tool.chmod(0o700)
