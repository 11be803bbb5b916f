"""What a gateway believes of who owns what."""

from __future__ import annotations

from controlplane.runtime.owners import Owners


def test_the_last_epoch_counts_whatever_comes_later() -> None:
    owners = Owners()
    assert owners.host_of(3) == ""
    assert owners.announced("a", {3: 1, 4: 1}) == {3, 4}
    assert owners.announced("b", {3: 2}) == {3}
    assert owners.announced("a", {3: 1, 4: 1}) == {4}, "late news changes nothing"
    assert (owners.host_of(3), owners.host_of(4)) == ("b", "a")
    assert not owners.accepts(3, 1)
    assert owners.accepts(3, 2)
    assert owners.accepts(4, 1)


def test_the_same_word_again_is_no_contradiction() -> None:
    owners = Owners()
    owners.announced("a", {3: 1})
    assert owners.announced("a", {3: 1}) == {3}


def test_a_command_under_a_higher_epoch_is_news_of_it() -> None:
    owners = Owners()
    owners.announced("a", {3: 1})
    assert owners.accepts(3, 2)
    assert not owners.accepts(3, 1)
    assert owners.announced("b", {3: 2}) == {3}
