"""The golden record of the HTTP API: what was asked and what was answered, in `answers/*.json`.

A chapter (`chapters/`) is a fixed scenario against the product and a sandbox of its own, with a
clock that only the scenario moves. Each request is asked in Chinese; what changes nothing (a read,
a refusal) is asked again in English, and the differences are kept. `tests/test_recorded.py` plays
every chapter and compares each answer with the record: status, headers, shape and values. Ids,
tokens, signed strings and addresses of avatars are replaced by stable placeholders, the same value
by the same one, so that it stays visible who is who.

To record anew, after a change of the answers that is meant:

    RECORD=1 python -m pytest tests/test_recorded.py

and read the difference of the files. `RECORD=1 … -k ranking` records one chapter.

One thing follows the real clock: of failed log-ins and binds ten a second are kept. So `me/data`
is read in chapters with fewer than ten of them.

Everything is set up through HTTP, as a mini-program, a team's server or an operator would. What
only an operator can do is in `operators.py`, the one file here that knows models and the console.
"""
