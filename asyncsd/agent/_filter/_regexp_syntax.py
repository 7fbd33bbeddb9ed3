"""The syntax of Go's package regexp (RE2's), in its words where it refuses.

What a pattern captures, and whether it is greedy, doesn't matter here: a filter asks only whether it matches.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["Alternatives", "Assertion", "Char", "Node", "RegexpError", "Repeat", "Sequence", "parse_regexp"]

Accept: TypeAlias = Callable[[str], bool]

MOST_REPEATS, DEEPEST = 1000, 100
"""Go's limit of repeats, nested ones multiplied; how deep groups may nest (Go: 1,000)."""

FOREVER: Final = -1


class RegexpError(Exception):
    """A pattern that Go doesn't take: what is wrong with which part."""

    def __init__(self, what: str, part: str) -> None:
        super().__init__(f"error parsing regexp: {what}: `{part}`")


@dataclass(frozen=True, slots=True)
class Char:
    """One character that is accepted."""

    accept: Accept


@dataclass(frozen=True, slots=True)
class Assertion:
    """A place: `holds(before, after)` of the characters on both sides, "" where there is none."""

    holds: Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Sequence:
    """All, one after the other."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Any one."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """From `least` to `most` times; most -1 is without end."""

    part: "Node"
    least: int
    most: int


Node: TypeAlias = Char | Assertion | Sequence | Alternatives | Repeat


def parse_regexp(text: str) -> Node:
    """What a pattern says. RegexpError for one that Go doesn't take."""
    return _Parser(text).parse()


def _is_word(char: str) -> bool:
    return char == "_" or (char.isascii() and char.isalnum())


BEGIN = Assertion(lambda before, _: not before)
END = Assertion(lambda _, after: not after)
LINE_BEGIN = Assertion(lambda before, _: before in ("", "\n"))
LINE_END = Assertion(lambda _, after: after in ("", "\n"))
BOUNDARY = Assertion(lambda before, after: _is_word(before) != _is_word(after))
NO_BOUNDARY = Assertion(lambda before, after: _is_word(before) == _is_word(after))

PERL: Final[dict[str, Accept]] = {
    "d": lambda char: "0" <= char <= "9",
    "s": lambda char: char in "\t\n\f\r ",
    "w": _is_word,
}
POSIX: Final[dict[str, Accept]] = {
    "alnum": lambda char: char.isascii() and char.isalnum(),
    "alpha": lambda char: char.isascii() and char.isalpha(),
    "ascii": str.isascii,
    "blank": lambda char: char in "\t ",
    "cntrl": lambda char: char < " " or char == "\x7f",
    "digit": lambda char: "0" <= char <= "9",
    "graph": lambda char: "!" <= char <= "~",
    "lower": lambda char: "a" <= char <= "z",
    "print": lambda char: " " <= char <= "~",
    "punct": lambda char: "!" <= char <= "~" and not char.isalnum(),
    "space": lambda char: char in "\t\n\v\f\r ",
    "upper": lambda char: "A" <= char <= "Z",
    "word": _is_word,
    "xdigit": lambda char: char in "0123456789abcdefABCDEF",
}
MINORS = {"C": "cfos", "L": "lmotu", "M": "cen", "N": "dlo", "P": "cdefios", "S": "ckmo", "Z": "lps"}
CATEGORIES = frozenset(major + minor for major, minors in MINORS.items() for minor in ("", *minors))
ESCAPES = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
OCTAL, HEX = frozenset("01234567"), frozenset("0123456789abcdefABCDEF")


def _not(accept: Accept) -> Accept:
    return lambda char: not accept(char)


def _range(first: str, last: str, fold: bool) -> Accept:
    if fold:
        return lambda char: (
            first <= char <= last or any(first <= other <= last for other in (char.lower(), char.upper()))
        )
    return lambda char: first <= char <= last


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at: int = 0
        self._depth = 0
        self._fold = False
        self._dot_all = False
        self._lines: bool = False

    def parse(self) -> Node:
        node = self._alternatives()
        if self._at < len(self._text):
            raise RegexpError("unexpected )", self._text)
        return node

    def _next(self, text: str) -> bool:
        """Whether `text` stands here; it is read then."""
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _alternatives(self) -> Node:
        flags = self._fold, self._dot_all, self._lines
        parts = [self._sequence()]
        while self._next("|"):
            parts.append(self._sequence())
        self._fold, self._dot_all, self._lines = flags
        return Alternatives(tuple(parts)) if len(parts) > 1 else parts[0]

    def _sequence(self) -> Node:
        parts: list[Node] = []
        repeated = ""
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            begin = self._at
            if (counts := self._counts()) is None:
                if (node := self._one()) is not None:
                    parts.append(node)
                repeated = ""
                continue
            self._next("?")
            operator = self._text[begin : self._at]
            if repeated:
                raise RegexpError("invalid nested repetition operator", repeated + operator)
            if not parts:
                raise RegexpError("missing argument to repetition operator", operator)
            parts[-1] = Repeat(parts[-1], *counts)
            if max(counts) > 1 and not _fits(parts[-1], MOST_REPEATS):
                raise RegexpError("invalid repeat count", operator)
            repeated = operator
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _counts(self) -> tuple[int, int] | None:
        for sign, counts in (("*", (0, FOREVER)), ("+", (1, FOREVER)), ("?", (0, 1))):
            if self._next(sign):
                return counts
        begin = self._at
        if not self._next("{"):
            return None
        least = self._number()
        most: str | None = least
        if self._next(","):
            most = "" if self._text.startswith("}", self._at) else self._number()
        if not least or most is None or not self._next("}"):
            self._at = begin  # it stands for itself
            return None
        low, high = int(least), int(most) if most else FOREVER
        if low > MOST_REPEATS or high > MOST_REPEATS or FOREVER < high < low:
            raise RegexpError("invalid repeat count", self._text[begin : self._at])
        return low, high

    def _number(self) -> str | None:
        begin = self._at
        while self._at < len(self._text) and self._text[self._at] in "0123456789":
            self._at += 1
        digits = self._text[begin : self._at]
        return digits[:5] if digits and (digits == "0" or digits[0] != "0") else None

    def _one(self) -> Node | None:
        """The next character, class, group or place; None for what only sets flags."""
        if self._next("("):
            return self._group()
        if self._next("["):
            return Char(self._class())
        if self._next("."):
            return Char((lambda _: True) if self._dot_all else (lambda char: char != "\n"))
        if self._next("^"):
            return LINE_BEGIN if self._lines else BEGIN
        if self._next("$"):
            return LINE_END if self._lines else END
        if self._next("\\"):
            return self._escape()
        self._at += 1
        return self._literal(self._text[self._at - 1])

    def _literal(self, char: str) -> Char:
        return Char(_range(char, char, self._fold))

    def _group(self) -> Node | None:
        begin = self._at - 1
        outer = self._fold, self._dot_all, self._lines
        if self._next("?"):
            if self._next("P<") or self._next("<"):
                self._name(begin)
            elif not self._flags(begin):
                return None
        self._depth += 1
        if self._depth > DEEPEST:
            raise RegexpError("expression nests too deeply", self._text)
        node = self._alternatives()
        self._depth -= 1
        self._fold, self._dot_all, self._lines = outer
        if not self._next(")"):
            raise RegexpError("missing closing )", self._text)
        return node

    def _flags(self, begin: int) -> bool:
        """Set the flags of "(?i" and the like; whether a group follows."""
        on = True
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char in ":)":
                return char == ":"
            if char == "i":
                self._fold = on
            elif char == "s":
                self._dot_all = on
            elif char == "m":
                self._lines = on
            elif char == "-" and on:
                on = False
            elif char != "U":
                raise RegexpError("invalid or unsupported Perl syntax", self._text[begin : self._at])
        raise RegexpError("invalid or unsupported Perl syntax", self._text[begin:])

    def _name(self, begin: int) -> None:
        end = self._text.find(">", self._at)
        name = self._text[self._at : end]
        if end < 0 or not name or not all(_is_word(char) for char in name):
            raise RegexpError("invalid named capture", self._text[begin : end + 1 if end >= 0 else None])
        self._at = end + 1

    def _class(self) -> Accept:
        begin = self._at - 1
        negated = self._next("^")
        accepts: list[Accept] = []
        first = True
        while first or not self._text.startswith("]", self._at):
            first = False
            accepts.append(self._class_item(begin))
        self._at += 1
        accept: Accept = lambda char: any(one(char) for one in accepts)  # noqa: E731
        return _not(accept) if negated else accept

    def _class_item(self, begin: int) -> Accept:
        if self._next("[:"):
            end = self._text.find(":]", self._at)
            name = self._text[self._at : end] if end >= 0 else ""
            negated, name = name.startswith("^"), name.removeprefix("^")
            if end >= 0:
                if name not in POSIX:
                    raise RegexpError("invalid character class range", self._text[self._at - 2 : end + 2])
                self._at = end + 2
                return _not(POSIX[name]) if negated else POSIX[name]
            self._at -= 2
        if self._text.startswith("\\", self._at) and (found := self._named_class(self._at + 1)):
            return found
        start = self._at
        first = last = self._class_char(begin)
        if self._text.startswith("-", self._at) and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
            self._at += 1
            last = self._class_char(begin)
            if last < first:
                raise RegexpError("invalid character class range", self._text[start : self._at])
        return _range(first, last, self._fold)

    def _class_char(self, begin: int) -> str:
        if self._at >= len(self._text):
            raise RegexpError("missing closing ]", self._text[begin:])
        if self._next("\\"):
            return self._escaped_char()
        self._at += 1
        return self._text[self._at - 1]

    def _named_class(self, at: int) -> Accept | None:
        r"""A class that a letter stands for (\d, \pL, \p{Lu}), read from behind its backslash."""
        letter = self._text[at : at + 1]
        if letter.lower() in PERL:
            self._at = at + 1
            accept = PERL[letter.lower()]
        elif letter in ("p", "P"):
            accept = self._category(at)
        else:
            return None
        return accept if letter.islower() else _not(accept)

    def _category(self, at: int) -> Accept:
        end = self._text.find("}", at) if self._text.startswith("{", at + 1) else at + 1
        name = self._text[at + 1 : end + 1].strip("{}") if end >= 0 else ""
        negated, name = name.startswith("^"), name.removeprefix("^")
        if name not in CATEGORIES and name != "Any":
            raise RegexpError(
                "invalid character class range", self._text[at - 1 : end + 1 if end >= 0 else None]
            )
        self._at = end + 1
        prefix = "" if name == "Any" else name
        accept: Accept = lambda char: unicodedata.category(char).startswith(prefix)  # noqa: E731
        return _not(accept) if negated else accept

    def _escape(self) -> Node:
        places = {"A": BEGIN, "z": END, "b": BOUNDARY, "B": NO_BOUNDARY}
        letter = self._text[self._at : self._at + 1]
        if letter in places:
            self._at += 1
            return places[letter]
        if letter == "Q":
            quoted, _, _ = self._text[self._at + 1 :].partition("\\E")
            self._at += 1 + len(quoted)
            self._next("\\E")
            return Sequence(tuple(self._literal(char) for char in quoted))
        if (accept := self._named_class(self._at)) is not None:
            return Char(accept)
        return self._literal(self._escaped_char())

    def _escaped_char(self) -> str:
        begin = self._at - 1
        if self._at >= len(self._text):
            raise RegexpError("trailing backslash at end of expression", "")
        char = self._text[self._at]
        self._at += 1
        if char in ESCAPES:
            return ESCAPES[char]
        if char in OCTAL and (char == "0" or self._text[self._at : self._at + 1] in OCTAL):
            end = self._at
            while end < self._at + 2 and self._text[end : end + 1] in OCTAL:
                end += 1
            digits, self._at = self._text[begin + 1 : end], end
            return chr(int(digits, 8))
        if char == "x" and (code := self._hex()) is not None:
            return chr(code)
        if char.isascii() and not char.isalnum():
            return char
        raise RegexpError("invalid escape sequence", self._text[begin : self._at])

    def _hex(self) -> int | None:
        if self._next("{"):
            end = self._text.find("}", self._at)
            digits = self._text[self._at : end] if end >= 0 else ""
            after = end + 1
        else:
            digits = self._text[self._at : self._at + 2]
            digits = digits if len(digits) == 2 else ""
            after = self._at + 2
        if not digits or not HEX.issuperset(digits) or len(digits) > 6 or int(digits, 16) > 0x10FFFF:
            self._at = min(after, len(self._text))
            return None
        self._at = after
        return int(digits, 16)


def _fits(node: Node, most: int) -> bool:
    """Whether nested repeats, multiplied, stay below the limit."""
    match node:
        case Repeat(part, least, top):
            count = max(least, top)
            return count <= most and _fits(part, most // count if count > 1 else most)
        case Sequence(parts) | Alternatives(parts):
            return all(_fits(part, most) for part in parts)
        case _:
            return True
