"""The features' page names every feature under its family, and no other."""

import re
from pathlib import Path

import midas_ray.features
from midas_ray.features.registry import FEATURES


def test_the_page_lists_the_registry() -> None:
    page = (Path(midas_ray.features.__file__).parent / "README.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \((\d+)\) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    families: dict[str, list[str]] = {}
    units: dict[str, set[str]] = {}
    for feature in FEATURES:
        families.setdefault(feature.family, []).append(feature.name)
        units.setdefault(feature.family, set()).add(feature.unit)
    assert {family: names.split(", ") for family, _, names, _ in listed} == families
    assert [int(count) for _, count, _, _ in listed] == [len(names) for names in families.values()]
    assert {family: set(words.split(", ")) for family, _, _, words in listed} == units
