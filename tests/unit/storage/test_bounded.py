"""What is kept for who asks again stays within its bound."""

from __future__ import annotations

from chronicle.storage.manifest.bounded import Bounded


def test_the_least_recently_asked_for_is_given_up_first() -> None:
    kept = Bounded[str](10)
    for name in "abc":
        kept.put(name, name.upper(), 3)
    assert kept.get("a") == "A"
    kept.put("d", "D", 3)
    assert sorted(kept) == ["a", "c", "d"]
    assert kept.get("b") is None


def test_the_newest_is_kept_whatever_it_weighs_and_counts_once() -> None:
    kept = Bounded[str](10)
    kept.put("a", "A", 4)
    kept.put("b", "B", 99)
    assert list(kept) == ["b"]
    kept.put("b", "b", 1)
    kept.put("c", "C", 9)
    assert sorted(kept) == ["b", "c"]


def test_what_comes_from_nowhere_else_is_never_given_up() -> None:
    kept = Bounded.of({"a": [1], "b": [2]})
    kept.put("c", [], 0)
    assert sorted(kept) == ["a", "b", "c"]
