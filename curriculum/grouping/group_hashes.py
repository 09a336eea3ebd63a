"""What identifies the group of a response → a hash of 64 bits, the same from either reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from curriculum.arrays import BoolArray, ByteArray, HashArray, IntArray
from curriculum.dumps.formats import EMPTY, Format, read_group
from curriculum.dumps.json_values import NOTHING, from_json, hash_column, hash_value, mix
from curriculum.dumps.values import is_inside, top, within
from curriculum.scanner.dump_lines import FieldPlaces, Kind


def choose_groups(
    form: Format, hashes: Callable[[str], HashArray], count: int
) -> tuple[HashArray, ByteArray]:
    """The hash of the group of each of `count` lines, NOTHING for none, and the number of the
    format's alternative that identifies it: the first whose places the line has. `hashes` gives
    the hash of what is at a place in each line."""
    groups, marks = np.full(count, NOTHING, np.uint64), np.zeros(count, np.uint8)
    for number, places in enumerate(form.alternatives):
        found = [hashes(place) for place in places]
        has = np.all([column != NOTHING for column in found], axis=0) & (groups == NOTHING)
        groups[has] = mix(hash_value(places), found)[has]
        marks[has] = number
        if (groups != NOTHING).all():
            break
    return groups, marks


def hash_groups(form: Format, place: str, values: Sequence[Any]) -> HashArray:
    """The hash of what identifies a group in each value at a place; NOTHING for an empty one."""
    parts = read_group(form, place, list(values))
    return hash_column([None if part in EMPTY else part for part in parts])


def _distinct(hashes: HashArray) -> tuple[IntArray, IntArray]:
    """Where each distinct hash is first, and for each hash which of those it equals."""
    if len(hashes) and (hashes == hashes[0]).all():
        return np.zeros(1, np.int64), np.zeros(len(hashes), np.int64)
    order = np.argsort(hashes, kind="stable")
    new = np.append(True, hashes[order][1:] != hashes[order][:-1])[: len(hashes)]
    which = np.empty(len(hashes), np.int64)
    which[order] = np.cumsum(new) - 1
    return order[new], which


class ScannedLines:
    """The lines `here` of a block whose fields were found by the scanner."""

    def __init__(self, form: Format, places: FieldPlaces, here: IntArray) -> None:
        self._form, self._places, self._here = form, places, here
        self._hashed: dict[tuple[str, bytes], HashArray] = {}

    def _hash(self, name: str, counted: bytes = b"") -> HashArray:
        """The scanner's hash of a field in each line."""
        if (name, counted) not in self._hashed:
            found = self._places.hashes(name, self._here, counted)
            self._hashed[name, counted] = found
        return self._hashed[name, counted]

    def groups(self) -> tuple[HashArray, ByteArray]:
        """What `choose_groups` says of these lines."""
        return choose_groups(self._form, self._hashes, len(self._here))

    def _hashes(self, place: str) -> HashArray:
        """The hash of what is at a place in each line. Texts and integers were hashed by the
        scanner; other values are decoded, each of several equal ones once."""
        name, form = top(place), self._form
        counted = b"" if place == form.prompt else form.group_forms.get(place, b"")
        hashes = self._hash(name, counted)
        kinds = self._places.kinds[name][self._here]
        here = kinds > Kind.NULL
        has_reader = place in form.read_group and place not in form.group_forms
        if not is_inside(place) and not has_reader:
            odd = (kinds == Kind.STRING) & (hashes == NOTHING)  # empty, or with a lone surrogate
            here &= odd | ((kinds != Kind.STRING) & (kinds != Kind.INTEGER))
        if here.any():
            values, which = self._decoded(place, hashes, here)
            hashes = hashes.copy()
            hashes[here] = hash_groups(form, place, values)[which]
        return hashes

    def distinct(self, place: str, lines: BoolArray) -> list[Any]:
        """The distinct values at a place in some of the lines."""
        return self._decoded(place, self._hash(top(place)), lines)[0]

    def which(self, place: str | None, is_so: Callable[[Any], bool]) -> BoolArray:
        """In which lines the value at a place is so; None if there is no value."""
        everywhere = np.ones(len(self._here), np.bool_)
        if place is None:
            return everywhere & is_so(None)
        hashes = self._hash(top(place))
        values, which = self._decoded(place, hashes, everywhere)
        return np.array([is_so(value) for value in values], np.bool_)[which]

    def _decoded(
        self, place: str, hashes: HashArray, lines: BoolArray
    ) -> tuple[list[Any], IntArray]:
        """The distinct values at a place in some lines, and for each line which of them it has."""
        name, here, own = top(place), self._here[lines], hashes[lines]
        odd = (own == NOTHING) & (self._places.kinds[name][here] > Kind.NULL)
        if odd.any():  # each is a value of its own
            first, which = np.arange(len(here)), np.arange(len(here))
        else:
            first, which = _distinct(own)
        raws = [self._places.raw(name, line) for line in here[first].tolist()]
        return [within(from_json(raw), place) if raw else None for raw in raws], which
