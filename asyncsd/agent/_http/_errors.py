"""How an endpoint refuses."""

from collections.abc import Mapping

__all__ = ["HTTPError"]


class HTTPError(Exception):
    """A refusal: its status, its text and its headers, as the client gets them."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text
        self.headers = dict(headers or {})
