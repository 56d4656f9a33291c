"""The data that `make bench` generates: of the stated sizes, the same every time."""

import random

import pytest
from django.db import connection

from accounts.models import Token, WeChatUser
from benchmarks.seed import LARGEST, SMALLEST, seed, sizes, token_of
from groups.models import Group, Membership, Score
from groups.periods import Window


def test_sizes_follow_zipfs_law_between_three_and_five_hundred() -> None:
    drawn = sizes(20_000, random.Random(1))
    assert (min(drawn), max(drawn)) == (SMALLEST, LARGEST)
    assert 900_000 < sum(drawn) < 1_200_000
    for size in (10, 50, 200):
        share = sum(1 for one in drawn if one >= size) / len(drawn)
        assert share == pytest.approx((SMALLEST / size) ** 0.6, rel=0.1)
    assert drawn == sizes(20_000, random.Random(1)) != sizes(20_000, random.Random(2))


@pytest.mark.django_db
def test_a_small_seed_is_a_whole_site() -> None:
    if connection.vendor != "postgresql":
        assert not hasattr(connection.cursor(), "copy"), "COPY is PostgreSQL's, as the bench is"
        return
    progress: list[tuple[str, int, int]] = []
    seed(4, random.Random(1), lambda *step: progress.append(step))
    assert Group.objects.count() == 4
    assert Membership.objects.count() == sum(sizes(4, random.Random(1)))
    assert WeChatUser.objects.count() == Token.objects.count() == 2 * LARGEST
    members = Membership.objects.count()
    assert Score.objects.count() == len(Window) * (2 * LARGEST + members)
    assert all(done == total for _what, done, total in progress)
    first = WeChatUser.objects.earliest("pk")
    token = Token.objects.valid(token_of(first.pk), first.created_at)
    assert token and token.user == first
