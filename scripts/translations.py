"""Keep the translations in step with the code (needs gettext).

python scripts/translations.py            collect and compile them
python scripts/translations.py --check    only report what is out of step
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import polib

LOCALE = "zh_Hans"
CATALOGUE = Path("locale", LOCALE, "LC_MESSAGES", "django.po")
NO_GETTEXT = "The translations need gettext: apt install gettext 请先安装 gettext"


def manage(tree: Path, *arguments: str) -> None:
    command = [sys.executable, "manage.py", *arguments, "--locale", LOCALE, "--verbosity", "0"]
    ignored = ["--ignore", ".venv/*", "--ignore", "miniprogram/*"]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([*command, *ignored], cwd=tree, env=environment, check=True)


def collected(tree: Path) -> polib.POFile:
    """Return the catalogue that the files in git produce, new files included."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=tree, check=True, stdout=subprocess.PIPE, text=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in filter(None, names.split("\0")):
            if name.endswith((".py", ".html", ".txt", ".po")) and (tree / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(tree / name, copy / name)
        manage(copy, "makemessages", "--no-location", "--no-obsolete")
        return polib.pofile(str(copy / CATALOGUE), wrapwidth=100)


def texts(entries: Iterable[polib.POEntry]) -> dict[tuple[str | None, str, str], object]:
    return {
        (entry.msgctxt, entry.msgid, entry.msgid_plural): entry.msgstr_plural or entry.msgstr
        for entry in entries
        if not entry.obsolete
    }


def unfinished(path: Path) -> list[str]:
    """Return what is wrong with a catalogue and what is compiled from it."""
    written = polib.pofile(str(path))
    faults = {
        "not translated": written.untranslated_entries(),
        "fuzzy": written.fuzzy_entries(),
        "obsolete": written.obsolete_entries(),
    }
    found = [f"{fault}: {entry.msgid}" for fault in faults for entry in faults[fault]]
    compiled = path.with_suffix(".mo")
    if not compiled.exists() or texts(polib.mofile(str(compiled))) != texts(
        written.translated_entries()
    ):
        found.append(f"{compiled.name} is not compiled from the present {path.name}")
    return found


def out_of_step(tree: Path) -> list[str]:
    """Return the sentences that are missing in the catalogue, and those no longer in the code."""
    here, there = texts(polib.pofile(str(tree / CATALOGUE))), texts(collected(tree))
    return [
        *(f"missing: {key[1]}" for key in there if key not in here),
        *(f"no longer in the code: {key[1]}" for key in here if key not in there),
    ]


def check(tree: Path) -> int:
    found = unfinished(tree / CATALOGUE)
    if shutil.which("xgettext"):
        found += out_of_step(tree)
    else:
        print(NO_GETTEXT, file=sys.stderr)
        if os.environ.get("CI") == "true":
            return 1
    for fault in found:
        print(f"{CATALOGUE}: {fault}")
    if found:
        print("Run `make messages`, translate what is new, and run it again.", file=sys.stderr)
    return 1 if found else 0


def main(arguments: list[str]) -> int:
    tree = Path(__file__).resolve().parent.parent
    if "--check" in arguments:
        return check(tree)
    if not shutil.which("xgettext"):
        sys.exit(NO_GETTEXT)
    collected(tree).save(str(tree / CATALOGUE))
    manage(tree, "compilemessages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
