"""Regular expressions in the syntax of Go's package regexp."""

import re

from ._parser import FilterError
from ._quote import quote

__all__ = ["compile_regexp"]

# What Python's syntax has and Go's hasn't.
NOT_IN_GO = re.compile(r"(?:\\.|\[\^?\]?(?:\\.|[^]\\])*\]|[^\\(])*?(\(\?(?:[=!#(>]|<[=!]|P[=>]))", re.DOTALL)
BACK_REFERENCE = re.compile(r"(?:[^\\]|\\[^1-9])*?(\\[1-9])", re.DOTALL)


def compile_regexp(text: str) -> re.Pattern[str]:
    """The pattern. FilterError for one that Go doesn't take."""
    if found := NOT_IN_GO.match(text):
        raise _refused(text, f"invalid or unsupported Perl syntax: `{found[1][:3]}`")
    if found := BACK_REFERENCE.match(text):
        raise _refused(text, f"invalid escape sequence: `{found[1]}`")
    try:
        return re.compile(text.replace(r"\z", r"\Z"), re.ASCII)
    except (re.error, OverflowError, RecursionError) as exc:
        raise _refused(text, _reason(text, str(exc))) from None


def _refused(text: str, why: str) -> FilterError:
    return FilterError(f"Failed to compile regular expression {quote(text)}: error parsing regexp: {why}")


def _reason(text: str, why: str) -> str:
    """In Go's words, for those that people meet."""
    if why.startswith("missing ),"):
        return f"missing closing ): `{text}`"
    if why.startswith("unbalanced parenthesis"):
        return f"unexpected ): `{text}`"
    if why.startswith("unterminated character set"):
        return f"missing closing ]: `{text[text.rindex('[') :]}`"
    if why.startswith("nothing to repeat"):
        return f"missing argument to repetition operator: `{text.lstrip('(|^')[:1]}`"
    if why.startswith("bad escape (end of pattern)"):
        return "trailing backslash at end of expression: ``"
    return why
