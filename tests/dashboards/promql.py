"""What a PromQL expression asks for, by a tokenizer that knows as much of the language as boards and alerts use."""

import re
from dataclasses import dataclass

GROUPING = ("by", "without", "on", "ignoring", "group_left", "group_right")
WORDS = {*GROUPING, "or", "and", "unless", "bool", "offset"}
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>"(?:\\.|[^"\\])*")|(?P<window>\[[^\]]*\])
    |(?P<number>\d[\w.]*)|(?P<word>\$?[a-zA-Z_:][\w:]*)|(?P<other>[-+*/%^(){},=!~<>]+?(?=.|$))""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Matcher:
    """What a label is to be: `sign` is =, !=, =~ or !~."""

    label: str
    sign: str
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric and what it is selected by."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(matcher.label for matcher in self.matchers)


@dataclass(frozen=True, slots=True)
class Grouping:
    """Labels of an aggregation, and the metrics that it is over."""

    labels: frozenset[str]
    metrics: frozenset[str]


def tokens(expr: str) -> list[str]:
    """Raises ValueError for a sign that is none of the language."""
    found, at = [], 0
    while at < len(expr):
        match = _TOKEN.match(expr, at)
        if match is None:
            raise ValueError(f"expected PromQL, found {expr[at:]!r} in {expr!r}")
        if match.lastgroup not in ("space", "window"):
            found.append(match[0])
        at = match.end()
    return found


def _is_word(token: str) -> bool:
    return bool(re.fullmatch(r"[a-zA-Z_:][\w:]*", token))


def _closing(parts: list[str], opening: int) -> int:
    depth = 0
    for at in range(opening, len(parts)):
        depth += (parts[at] in "({") - (parts[at] in ")}")
        if depth == 0:
            return at
    raise ValueError(f"a bracket is not closed: {' '.join(parts)}")


def selectors(expr: str) -> list[Selector]:
    """Every metric, with the labels in its braces."""
    return _selectors(tokens(expr))


def _selectors(parts: list[str]) -> list[Selector]:
    found, at = [], 0
    while at < len(parts):
        token, following = parts[at], parts[at + 1] if at + 1 < len(parts) else ""
        if token == "offset":
            at += 2
        elif token in GROUPING and following == "(":
            at = _closing(parts, at + 1) + 1
        elif token == "{":  # {__name__=~"a|b"}
            end = _closing(parts, at)
            name, *others = _matchers("".join(parts[at + 1 : end]))
            found += [Selector(each, tuple(others)) for each in name.value.split("|")]
            at = end + 1
        elif not _is_word(token) or token in WORDS or following == "(" or _is_aggregation(parts, at):
            at += 1
        elif following == "{":
            end = _closing(parts, at + 1)
            found.append(Selector(token, _matchers("".join(parts[at + 2 : end]))))
            at = end + 1
        else:
            found.append(Selector(token))
            at += 1
    return found


def _matchers(inside: str) -> tuple[Matcher, ...]:
    return tuple(Matcher(*match) for match in re.findall(r'(\w+)(=~|!~|!=|=)"((?:\\.|[^"\\])*)"', inside))


def _is_aggregation(parts: list[str], at: int) -> bool:
    """`sum by (...) (...)`: its name is followed by the word."""
    return at + 1 < len(parts) and parts[at + 1] in ("by", "without")


def groupings(expr: str) -> list[Grouping]:
    """Every `by (labels) (...)`, with the metrics inside."""
    parts, found = tokens(expr), []
    for at, token in enumerate(parts):
        if token == "by":
            end = _closing(parts, at + 1)
            labels = frozenset(filter(_is_word, parts[at + 2 : end]))
            inside = parts[end + 1 : _closing(parts, end + 1) + 1]
            found.append(Grouping(labels, frozenset(each.name for each in _selectors(inside))))
    return found
