"""Ages in years, and before birth in days after fertilisation, out of what people and HsapDv write.

An age is in completed units, as it is stated: "25-year-old" is 25, the "third decade" 20 to 29. What cannot be
read is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tosg_graph.resources import schema

OLDEST = 130.0  # years; more is a code for something else
_YEAR = {"year": 1.0, "month": 1 / 12, "week": 7 / 365.25, "day": 1 / 365.25}  # in years
_LMP_MONTH = 365.25 / 12  # days
_LONGEST_GESTATION = 44 * 7  # days post fertilisation

_NUMBER = r"(\d{1,6}(?:\.\d{1,6})?)"
# Weeks and days that are not said to be of life may be of gestation.
_UNIT = (
    r"(?:[ -]?(years?|yrs?|yr?o?|y\.o\.?|months?|mos?|(?:weeks?|wks?|days?)(?=[ -]old))"
    r"(?:[ -]?olds?)?)"
)
_AFTER_FERTILISATION = r"(?:post[ -]?(?:fertili[sz]ation|conception(?:al)?)|of development)"
_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"),
    *("ninth", "tenth", "eleventh", "twelfth"),
)
_ORDINAL = rf"({'|'.join(_ORDINALS)}|\d{{1,3}}(?:st|nd|rd|th))"


@dataclass(frozen=True)
class Age:
    """An age, or the bounds of one.

    Parameters
    ----------
    prenatal
        Before birth; then only the ``pf_days`` are set, otherwise only the years.
    years, years_min, years_max
        Middle, first and last age, completed years; the middle is None where a bound is open or a mere word gave both.
    pf_days, pf_days_min, pf_days_max
        The same, in completed days post fertilisation.
    bin
        Name of the bin that holds all of it, None where it reaches over several.
    """

    prenatal: bool
    years: float | None = None
    years_min: float | None = None
    years_max: float | None = None
    pf_days: float | None = None
    pf_days_min: float | None = None
    pf_days_max: float | None = None
    bin: str | None = None


def parse_age(text: str | None, *, unit: str | None = None) -> Age | None:
    """Read an age.

    Parameters
    ----------
    text
        ``25-year-old stage``, ``third decade``, ``60s``, ``65-79``, ``45+ years``, ``P7D``, ``Carnegie stage 17`` ...
    unit
        Unit of a number that stands alone: ``year``, ``month``, ``week`` or ``day``; without it that is no age.

    Returns
    -------
    Age or None
        None where the form is not known: nothing is guessed.
    """
    if text is None:
        return None
    words = re.sub(r"[‐‑‒–—−]", "-", text.lower()).replace("≥", ">=").replace("≤", "<=")
    words = re.sub(r"\bhuman\b", " ", words).replace("_", " ")
    words = re.sub(r"^aged? (?=\d)", "", " ".join(words.split()))
    words = re.sub(r"(?<!carnegie) stage$", "", words).strip()
    for pattern, read in _forms():
        match = pattern.fullmatch(words)
        if match:
            return read(match, unit)
    return None


def age_bin(first: float, end: float | None) -> str | None:
    """Name of the bin that holds all ages from ``first`` up to, not including, ``end`` (None: open), in years."""
    low = 0.0
    for spec in schema("ages")["bins"]:
        high = spec.get("below")
        if first >= low and (high is None or (first < high and end is not None and end <= high)):
            return str(spec["name"])
        low = high
    return None


# --------------------------------------------------------------------------- after birth


def _born(
    first: float, last: float | None, unit: str, *, middle: bool = True, whole: bool = True
) -> Age | None:
    """Age after birth from ``first`` to ``last`` completed units; ``whole``: the last unit counts to its end."""
    size = _YEAR[unit]
    if not 0 <= first * size <= OLDEST or (last is not None and (last < first or last * size > OLDEST)):
        return None
    step = size if whole else 0.0
    end = None if last is None else max(last * size + step, first * size + 1e-9)
    known = middle and last is not None
    return Age(
        prenatal=False,
        years=(first + last) / 2 * size if known and last is not None else None,
        years_min=first * size,
        years_max=None if last is None else last * size,
        bin=age_bin(first * size, None if end is None else round(end, 9)),
    )


def _stated(number: str, unit: str) -> Age | None:
    return _born(float(number), float(number), unit, whole="." not in number)


def _unit(written: str | None, default: str | None) -> str | None:
    """``year``, ``month``, ``week`` or ``day`` of what is written of it."""
    if not written:
        return default
    return {"y": "year", "m": "month", "w": "week", "d": "day"}[written[0]]


def _single(match: re.Match[str], default: str | None) -> Age | None:
    unit = _unit(match[2], default)
    return _stated(match[1], unit) if unit else None


def _range(match: re.Match[str], default: str | None) -> Age | None:
    unit = _unit(match[4] or match[2], default)
    if unit is None or (match[2] and _unit(match[2], None) != unit):
        return None
    return _born(float(match[1]), float(match[3]), unit)


def _over(match: re.Match[str], default: str | None) -> Age | None:
    written = [group for group in match.groups()[1:] if group]
    unit = _unit(written[0] if written else None, default)
    return _born(float(match[1]), None, unit) if unit else None


def _under(match: re.Match[str], default: str | None) -> Age | None:
    unit = _unit(match[2], default)
    return _born(0.0, float(match[1]), unit, whole=False) if unit else None


def _decade(match: re.Match[str], _: str | None) -> Age | None:
    first = 10.0 * (_ordinal(match[1]) - 1)
    return _born(first, first + 9, "year")


def _tens(match: re.Match[str], _: str | None) -> Age | None:
    return _born(float(match[1]), float(match[1]) + 9, "year")


def _duration(match: re.Match[str], _: str | None) -> Age | None:
    """ISO 8601, or years and months: the smallest unit that is written is the one that is completed."""
    parts = {u: float(n) for u, n in zip(("year", "month", "week", "day"), match.groups(), strict=False) if n}
    if not parts:
        return None
    years = sum(n * _YEAR[u] for u, n in parts.items())
    smallest = list(parts)[-1]
    return _born(years / _YEAR[smallest], years / _YEAR[smallest], smallest)


def _first_days(match: re.Match[str], _: str | None) -> Age | None:
    return _born(float(match[1]), float(match[2]), "day")


def _in_brackets(match: re.Match[str], default: str | None) -> Age | None:
    return parse_age(match[1], unit=default)


# --------------------------------------------------------------------------- before birth


def _unborn(first: float, last: float | None, *, middle: bool = True, bin_: str | None = None) -> Age | None:
    """Age before birth from ``first`` to ``last`` completed days post fertilisation."""
    if first < 0 or first > _LONGEST_GESTATION or (last is not None and last < first):
        return None
    born_from = schema("ages")["fetal_from_days"]
    reach = "fetal" if first >= born_from else "embryonic" if last is not None and last < born_from else None
    known = middle and last is not None
    return Age(
        prenatal=True,
        pf_days=(first + last) / 2 if known and last is not None else None,
        pf_days_min=first,
        pf_days_max=last,
        bin=bin_ or reach,
    )


def _carnegie(match: re.Match[str], _: str | None) -> Age | None:
    days = schema("ages")["carnegie"].get(f"{int(match[1])}{match[2] or ''}")
    return _unborn(*days, bin_="embryonic") if days else None


def _nth_week(match: re.Match[str], _: str | None) -> Age | None:
    first = 7.0 * (_ordinal(match[1]) - 1)
    return _unborn(first, None if match[2] else first + 6)


def _weeks(match: re.Match[str], _: str | None) -> Age | None:
    """Completed weeks after fertilisation."""
    weeks = float(next(filter(None, match.groups())))
    return _unborn(7 * weeks, 7 * weeks + (6 if weeks.is_integer() else 0))


def _days(match: re.Match[str], _: str | None) -> Age | None:
    return _unborn(float(match[1]), float(match[1]))


def _gestation(match: re.Match[str], _: str | None) -> Age | None:
    """Completed weeks after the last menstrual period."""
    weeks = float(next(filter(None, match.groups())))
    first = 7 * weeks - schema("ages")["gestation_days"]
    return _unborn(first, first + (6 if weeks.is_integer() else 0))


def _lmp_month(match: re.Match[str], _: str | None) -> Age | None:
    last = _ordinal(match[1]) * _LMP_MONTH - schema("ages")["gestation_days"]
    # HsapDv places all of them in the fetal stage; the third begins nine days before it.
    return _unborn(float(int(last - _LMP_MONTH) + 1), float(int(last)), bin_="fetal")


# --------------------------------------------------------------------------- words


def _named(match: re.Match[str], _: str | None) -> Age | None:
    spec = schema("ages")["named"].get(match[0])
    if spec is None:
        return None
    if "pf_days" in spec:
        return _unborn(*spec["pf_days"], middle=False, bin_=spec.get("bin"))
    (unit,) = (u for u in ("year", "month", "day") if f"{u}s" in spec)
    first, last = spec[f"{unit}s"]
    return _born(first, last, unit, middle=False)


def _ordinal(word: str) -> int:
    return _ORDINALS.index(word) + 1 if word in _ORDINALS else int(word.rstrip("stndrh"))


@cache
def _forms() -> list[tuple[re.Pattern[str], Callable[[re.Match[str], str | None], Age | None]]]:
    """Forms of an age; the first that fits all of the text reads it."""
    n, unit, age = _NUMBER, _UNIT, r"(?: child| adult)?"
    forms: list[tuple[str, Callable[[re.Match[str], str | None], Age | None]]] = [
        (r"(?:carnegie stage|carnegie|cs) ?0*(\d{1,2}) ?([a-c])?", _carnegie),
        (rf"{_ORDINAL} week {_AFTER_FERTILISATION}( and over)?", _nth_week),
        (rf"{n} ?(?:pcw|wpc|weeks? {_AFTER_FERTILISATION}|{_AFTER_FERTILISATION} weeks?)|pcw ?{n}", _weeks),
        (rf"{_AFTER_FERTILISATION} week {n}", _weeks),
        (rf"{n} ?(?:dpc|dpf|days? {_AFTER_FERTILISATION})", _days),
        (
            rf"{n} ?(?:gw|gestational weeks?|weeks? (?:of )?gestation(?:al age)?|weeks? ga)|"
            rf"(?:gw|gestational week|gestation week) ?{n}",
            _gestation,
        ),
        (rf"{_ORDINAL} lmp month", _lmp_month),
        (rf"{_ORDINAL} decade(?: of life)?", _decade),
        (r"(\d0)'?s", _tens),
        (rf"p(?:{n}y)?(?:{n}m)?(?:{n}w)?(?:{n}d)?", _duration),
        (rf"{n} ?(?:years?|yrs?|y),? ?(?:and )?{n} ?(?:months?|mos?|m)(?:[ -]old)?", _duration),
        (rf"{n}{unit}? ?(?:-|to) ?{n}{unit}?{age}", _range),
        (rf"{n}{unit}? ?(?:\+|and over|and older|or over|or older){unit}?", _over),
        (rf"(?:>=?|over|older than) ?{n}{unit}?", _over),
        (rf"(?:<=?|under|younger than)[ -]?{n}{unit}?", _under),
        (rf"{n}{unit}?{age}", _single),
        (rf"[a-z ]+ \({n}-{n} days\)", _first_days),
        (r"[a-z ]+ \((.+)\)", _in_brackets),
        (r"[a-z ]+", _named),
    ]
    return [(re.compile(form), read) for form, read in forms]
