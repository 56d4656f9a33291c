"""Keep the golden record of the HTTP API: every request and its answer, in `answers/*.json`.

A chapter (`chapters/`) is a fixed scenario against the product and a sandbox of its own, with a
clock that only the scenario moves. Each request is sent in Chinese. A request that changes nothing
(a read, a refusal) is sent again in English, and the differences are kept. `tests/test_recorded.py`
plays every chapter and compares each answer with the record: status, headers, shape and values.
Ids, tokens, signed strings and addresses of avatars are replaced by stable placeholders, the same
value by the same placeholder, so identities stay visible. Headers are kept where they differ from
the usual ones (`USUAL` in stage.py).

To record again, after an intended change of the answers:

    RECORD=1 python -m pytest tests/test_recorded.py

and read the diff of the files. `RECORD=1 … -k titles` records one chapter.

Everything is set up through HTTP, as a mini-program, a team's server or an operator would do it.
What only an operator can do is in `operators.py`, the only file here that knows the models and the
console.
"""
