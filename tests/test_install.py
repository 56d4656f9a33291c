"""What `make` installs: the locked versions, also where there is no network."""

import base64
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.servers import find_program

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent
NAME, FILE = "groupsite_canary-1.0", "groupsite_canary-1.0-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\nName: groupsite-canary\nVersion: 1.0\n"


def write_wheel(folder: Path) -> str:
    """Write a wheel of a package that no index has; return its hash."""
    files = {
        "groupsite_canary.py": "SAYS = 'installed'\n",
        f"{NAME}.dist-info/METADATA": METADATA,
        f"{NAME}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with ZipFile(folder / FILE, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            record += f"{name},sha256={digest.decode().rstrip('=')},{len(text)}\n"
        wheel.writestr(f"{NAME}.dist-info/RECORD", f"{record}{NAME}.dist-info/RECORD,,\n")
    return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()


def test_without_a_network_make_installs_from_a_folder_of_wheels(tmp_path: Path) -> None:
    """Install as CONTRIBUTING.md says; refuse a wheel that is not the locked one."""
    wheels, tree = tmp_path / "wheels", tmp_path / "tree"
    wheels.mkdir()
    tree.mkdir()
    right = write_wheel(wheels)
    shutil.copy(ROOT / "Makefile", tree)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}

    def install(digest: str) -> subprocess.CompletedProcess[str]:
        (tree / "requirements.txt").write_text(f"groupsite-canary==1.0 --hash=sha256:{digest}\n")
        return subprocess.run(
            [find_program("make"), ".venv/.runtime"],
            cwd=tree,
            env=kept | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)},
            capture_output=True,
            text=True,
        )

    refused = install("0" * 64)
    assert refused.returncode != 0 and "THESE PACKAGES DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tree / ".venv/.runtime").exists()
    done = install(right)
    assert done.returncode == 0, done.stderr
    code = "import groupsite_canary; print(groupsite_canary.SAYS)"
    said = subprocess.check_output([tree / ".venv/bin/python", "-c", code], text=True)
    assert said == "installed\n"
