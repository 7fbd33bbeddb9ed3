"""Calls that the type checkers refuse. Never run: an ignore that is no longer needed fails `make types`."""

from asyncsd import (
    Backoff,
    Event,
    Health,
    HTTPCheck,
    Instance,
    Limits,
    Query,
    Registration,
    Retry,
    Snapshot,
    TTLCheck,
)

Query("users", status="any")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Query("users", tags="v1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Query("users", tag="v1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Query("users", consistency="strong")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Query()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

Registration("users")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Registration(service="users", port="80")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Registration(service="users", tag="v1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Registration(service="users", tags=lambda: 1)  # type: ignore[arg-type,return-value]  # pyright: ignore[reportArgumentType]
Registration(service="users", check="/health")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Registration(service="users", check=TTLCheck)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

TTLCheck(15.0)  # type: ignore[call-arg,arg-type]  # pyright: ignore[reportCallIssue]
TTLCheck(ttl="15s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
TTLCheck(initial_status="up")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
HTTPCheck("/health", 10.0)  # type: ignore[call-arg,arg-type]  # pyright: ignore[reportCallIssue]
HTTPCheck("/health", deregister_after="1m")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Health("ok")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

Retry()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Retry(on=OSError)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Retry(on=(1,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Backoff("1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Limits(queue="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def values_cannot_be_changed(instance: Instance, snapshot: Snapshot, event: Event) -> None:
    instance.port = 81  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    snapshot[0] = instance  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    instance.meta["zone"] = "a"  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    event.stale = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def nothing_heard_yet_has_to_be_thought_of(event: Event) -> int:
    return len(event.snapshot)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
