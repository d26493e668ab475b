"""Our HMAC is the standard library's, for any key and text."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from jobs.engine.mac import Mac


@given(key=st.binary(max_size=200), texts=st.lists(st.binary(max_size=300), min_size=1, max_size=3))
def test_it_is_hmac_sha256_and_one_text_leaves_nothing_for_the_next(key: bytes, texts: list[bytes]) -> None:
    mac = Mac(key)
    assert [mac.hexdigest(text) for text in texts] == [hmac.new(key, text, "sha256").hexdigest() for text in texts]
