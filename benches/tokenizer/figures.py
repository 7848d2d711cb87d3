"""From measurements to figures: which engine is exact, how fast, and how many times as fast as another.

A ratio is taken inside one round, between two engines that were measured one after the other; what is told is the median
of the rounds with the lowest and the highest. Means over cells are geometric.
"""

from __future__ import annotations

import statistics
from typing import Any

from engines import OURS, REFERENCE

Round = dict[str, dict[str, Any]]
"""Engine -> its answer (see `once.py`)."""


def verdict(answer: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """What an engine's ids are worth: `exact`, `differs` with the number of texts, or why there are none."""
    if answer["state"] != "measured":
        return {key: answer[key] for key in ("state", "reason") if key in answer}
    pairs = list(zip(answer["digests"], reference["digests"], strict=False))
    wrong = sum(ours != theirs for ours, theirs in pairs) + abs(len(reference["digests"]) - len(answer["digests"]))
    if wrong:
        return {"state": "differs", "texts": wrong, "of": len(reference["digests"])}
    if not answer["steady"]:
        return {"state": "differs", "reason": "other ids in the second pass"}
    return {"state": "exact"}


def cell(rounds: list[Round], wide: list[Round]) -> dict[str, Any]:
    """All figures of one tokenizer with one kind of text.

    Args:
        rounds: with one thread.
        wide: with two, perhaps none. Both may lack engines that were no rivals in the first round.
    """
    engines: dict[str, Any] = {}
    for name in rounds[0]:
        asked = [each for each in [*rounds, *wide] if name in each]
        # with two threads as well: ids that depend on the threads are not exact
        verdicts = [verdict(each[name], each[REFERENCE]) for each in asked]
        entry = next((each for each in verdicts if each["state"] != "exact"), verdicts[0])
        mine, both = ([each for each in some if measured(each, name)] for some in (rounds, wide))
        if entry["state"] in ("exact", "differs"):
            entry |= {
                "rounds": len(mine),
                "load": spread([each[name]["load"]["cpu"] for each in mine]),
                "cold": spread([rate(each[name]["cold"]) for each in mine]),
                "warm": spread([rate(each[name]["warm"]) for each in mine]),
                "times_reference": spread([ratio(each, name, REFERENCE, "cold") for each in mine]),
                "times_reference_warm": spread([ratio(each, name, REFERENCE, "warm") for each in mine]),
            }
            if both:
                entry["two_threads"] = spread([rate(each[name]["cold"], "wall") for each in both])
                entry["two_threads_times_reference"] = spread(
                    [ratio(each, name, REFERENCE, "cold", "wall") for each in both]
                )
        engines[name] = entry
    found: dict[str, Any] = {"tokens": rounds[0][REFERENCE]["tokens"], "engines": engines}
    exact = [name for name, entry in engines.items() if entry["state"] == "exact"]
    if engines.get(OURS, {}).get("state") == "exact":
        found["best"] = best(rounds, exact, "cold")
        found["best_warm"] = best(rounds, exact, "warm")
        if wide:
            found["best_two_threads"] = best(wide, exact, "cold", "wall")
            alone = [each[OURS]["cold"]["wall"] for each in rounds]
            together = [each[OURS]["cold"]["wall"] for each in wide]
            found["second_thread"] = spread([one / two for one, two in zip(alone, together, strict=False)])
    return found


def measured(each: Round, name: str) -> bool:
    return name in each and each[name]["state"] == "measured"


def best(rounds: list[Round], exact: list[str], part: str, clock: str = "cpu") -> dict[str, Any]:
    """How many times as fast ours is as the fastest other exact engine."""
    complete = [name for name in exact if name != OURS and all(name in each for each in rounds)]
    others = {name: spread([ratio(each, OURS, name, part, clock) for each in rounds]) for name in complete}
    hardest = min(others, key=lambda name: others[name]["median"])
    return {"engine": hardest, "times": others[hardest]}


def rival(first: Round, name: str) -> bool:
    """Whether an engine goes into more than the first round: its ids are exact, and it may be the fastest."""
    if name in (OURS, REFERENCE):
        return True
    rates = {
        other: rate(answer["cold"])
        for other, answer in first.items()
        if other != OURS and verdict(answer, first[REFERENCE])["state"] == "exact"
    }
    return name in rates and rates[name] * 2 >= max(rates.values())


def rate(measured: dict[str, float], clock: str = "cpu") -> float:
    """MB per second."""
    return measured["bytes"] / 1e6 / max(measured[clock], 1e-6)


def ratio(each: Round, name: str, other: str, part: str, clock: str = "cpu") -> float:
    """How many times as fast one engine is as another, in one round."""
    return rate(each[name][part], clock) / rate(each[other][part], clock)


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def means(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Geometric means, of all cells and of each kind of text."""
    kinds = list(dict.fromkeys(each["kind"] for each in cells))
    return {kind: mean([each for each in cells if kind in ("all", each["kind"])]) for kind in ["all", *kinds]}


def mean(cells: list[dict[str, Any]]) -> dict[str, Any]:
    engines: dict[str, Any] = {}
    for name in dict.fromkeys(name for each in cells for name in each["engines"]):
        mine = [each["engines"][name] for each in cells if each["engines"].get(name, {}).get("state") == "exact"]
        engines[name] = {"exact": len(mine), "cells": len(cells)}
        if mine:
            engines[name] |= {
                key: statistics.geometric_mean(entry[key]["median"] for entry in mine)
                for key in ("cold", "warm", "times_reference", "times_reference_warm")
            }
    found: dict[str, Any] = {"engines": engines}
    for key in ("best", "best_warm", "best_two_threads"):
        if times := [each[key]["times"]["median"] for each in cells if key in each]:
            found[f"times_{key}"] = statistics.geometric_mean(times)
    if scaled := [each["second_thread"]["median"] for each in cells if "second_thread" in each]:
        found["second_thread"] = statistics.geometric_mean(scaled)
    return found


def loads(rounds: list[Round]) -> dict[str, Any]:
    """Seconds that a tokenizer takes to load, for the first time in a process and again."""
    names = [name for name in rounds[0] if all(each[name]["state"] == "measured" for each in rounds)]
    return {
        name: {part: spread([each[name][key]["cpu"] for each in rounds]) for part, key in PARTS.items()}
        for name in names
    }


PARTS = {"first": "load", "again": "load_again"}
