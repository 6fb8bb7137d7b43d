"""The YAML writer says exactly what it was given, to a reader of YAML 1.1 as cloud-init is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudinit.document import Value, dump
from cloudinit.validate import load

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
LINES = st.lists(st.text("ab #:-'\"\\\t{", max_size=6), max_size=5).map("\n".join)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), TEXTS, LINES, LINES.map("{}\n".format))
WORDS = st.one_of(st.booleans(), st.integers(), TEXTS.filter(lambda text: "\n" not in text))
KEYS = st.sampled_from(["path", "content", "groups", "ssh_keys", "cloud-config"])


@given(
    st.dictionaries(
        KEYS,
        st.one_of(
            SCALARS,
            st.lists(st.one_of(SCALARS, st.lists(WORDS, max_size=3)), max_size=3),
            st.lists(st.dictionaries(KEYS, SCALARS, min_size=1), max_size=3),
            st.dictionaries(KEYS, st.one_of(SCALARS, st.lists(SCALARS, max_size=2)), max_size=3),
        ),
        min_size=1,
    )
)
def test_what_is_read_is_what_was_written(data: dict[str, Value]) -> None:
    assert load(dump(data)) == data


@pytest.mark.parametrize("text", ["no", "on", "0644", "1:2:3", "~", "", " a", "a: b", "# a", "1e3"])
def test_text_stays_text(text: str) -> None:
    assert load(dump({"key": text})) == {"key": text}


def test_lines_stay_readable() -> None:
    assert dump({"content": "a\n\n  b\n"}) == "#cloud-config\ncontent: |\n  a\n\n    b\n"


def test_pairs_stand_on_one_line() -> None:
    assert dump({"packages": [["acl", "1:2"]]}) == ('#cloud-config\npackages:\n- ["acl", "1:2"]\n')


@pytest.mark.parametrize("key", ["no", "Yes", "1", "a b", ""])
def test_a_key_that_yaml_would_misread_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not a plain YAML key"):
        dump({key: 1})
