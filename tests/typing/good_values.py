"""What users write, as the type checkers see it. Never run."""

from typing import assert_type

from asyncsd import Backoff, Event, HTTPCheck, Instance, Query, Registration, Retry, Snapshot, TTLCheck

Query("users", tags=("v1",), status="warning", node_meta={"rack": "1"})
Registration(service="users", port=80, tags=["v1"], meta={"zone": "a"}, weight=3, check=TTLCheck(ttl=15.0))
Registration(service="users", tags=lambda: {"v1"}, meta=dict[str, str], weight=lambda: 2)
Registration(service="users", port=80, checks=(HTTPCheck("/health", interval=5.0), TTLCheck()))
Retry(on=(OSError, TimeoutError), backoff=Backoff(maximum=2.0), callback=lambda attempt, errors: attempt < 2)


def read(event: Event) -> None:
    if event.snapshot is not None:
        assert_type(event.snapshot, Snapshot)
        for instance in event.snapshot:
            assert_type(instance, Instance)
        assert_type(event.snapshot[0], Instance)
        assert_type(event.snapshot[1:], tuple[Instance, ...])
        assert_type([instance.url("/health") for instance in event.snapshot], list[str])
    for change in event.changed:
        assert_type(change.before, Instance)
    assert_type(event.error, Exception | None)
