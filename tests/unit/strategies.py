"""Instances and lists of them, as hypothesis draws them."""

from hypothesis import strategies as st

from asyncsd import Instance, Status

words = st.text("abcXYZ019-_./ ü", min_size=1, max_size=6)
statuses: st.SearchStrategy[Status] = st.sampled_from(["passing", "warning", "critical"])

instances = st.builds(
    Instance,
    id=st.sampled_from(["a", "b", "c", "d", "e"]),
    service=st.just("users"),
    host=st.sampled_from(["10.0.0.1", "10.0.0.2", "::1", "node.example"]),
    port=st.integers(0, 3),
    tags=st.lists(st.sampled_from(["v1", "v2", "blue"]), max_size=2, unique=True).map(tuple),
    meta=st.dictionaries(words, words, max_size=2),
    weight=st.integers(0, 3),
    node=st.sampled_from([None, "n1", "n2"]),
    status=statuses,
)


def unique(found: list[Instance]) -> list[Instance]:
    """One instance a key, as a registry has it."""
    return list({instance.key: instance for instance in found}.values())


listings = st.lists(instances, max_size=8).map(unique)
