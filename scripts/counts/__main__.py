"""Count the habits that lint checks, in the files that git tracks; fail if a limit is broken.

    python -m scripts.counts           print the table
    python -m scripts.counts --list    also print each place, by file and line

english.py, classes.py, functions.py and circles.py explain what exactly is counted.
"""

import sys

from .circles import count_circles
from .classes import count_classes
from .english import count_docstrings, count_words
from .files import Habit, TrackedFile, tracked
from .functions import count_short


def count_all(files: list[TrackedFile]) -> list[Habit]:
    python = [file for file in files if file.is_python and not file.is_migration]
    product = [file for file in python if file.is_product]
    if not product:
        sys.exit("No code of the product stands here.")
    return [
        count_words(files),
        count_docstrings(python),
        count_classes([file for file in python if not file.is_test]),
        count_short(product),
        count_circles(product),
    ]


def main(arguments: list[str]) -> int:
    counts = count_all(tracked())
    for count in counts:
        if "--list" in arguments:
            for offender in count.offenders:
                print(offender)
        print(count)
    if all(count.is_kept for count in counts):
        return 0
    print("`python -m scripts.counts --list` names each place.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
