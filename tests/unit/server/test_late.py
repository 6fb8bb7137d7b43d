"""Answers that wait for their files: which connections, and the rules that hold them."""

from __future__ import annotations

from images.server import late

SS = """\
0 0 127.0.0.1:45678 127.0.0.1:20000 cubic wscale:7,7 rto:204 bytes_sent:40960 segs_out:9
0 0 127.0.0.1:45680 127.0.0.1:20000 cubic bytes_sent:310 bytes_received:131072 segs_out:12
0 0 127.0.0.1:45682 127.0.0.1:20001 cubic wscale:7,7 rto:204
0 0 127.0.0.1:50000 127.0.0.1:20001 cubic wscale:7,7 rto:204
"""
KNOWN = {(20000, 45678), (20000, 45680), (20001, 45682)}

NFT = """{"nftables": [{"metainfo": {"json_schema_version": 1}}, {"set": {"family": "ip",
"name": "late", "table": "bakehouse_late", "type": ["inet_service", "inet_service"], "elem": [
{"elem": {"val": {"concat": [20000, 45678]}, "expires": 29, "counter": {"packets": 3, "bytes": 9}}},
{"elem": {"val": {"concat": [20001, 45682]}, "expires": 29, "counter": {"packets": 0, "bytes": 0}}}
]}}]}"""


def test_only_requests_without_an_answer_and_of_caddys_are_held() -> None:
    """A download has begun to be answered; a health check by somebody else is none of ours."""
    assert late.unanswered(SS, KNOWN) == {(20000, 45678), (20001, 45682)}
    assert late.unanswered("", KNOWN) == set()


def test_an_answer_is_ready_when_packets_of_it_were_dropped() -> None:
    assert late.listed(NFT) == {(20000, 45678): 3, (20001, 45682): 0}
    assert late.listed('{"nftables": [{"set": {"name": "late"}}]}') == {}


def test_the_rules_let_acknowledgements_of_an_upload_pass_and_end_by_themselves() -> None:
    text = late.table({(20001, 45682), (20000, 45678)})
    assert "20000 . 45678 counter packets 0 bytes 0, 20001 . 45682 counter" in text
    assert "ip length > 80 tcp sport . tcp dport @late drop" in text
    assert f"timeout {late.SECONDS}s" in text
    assert text.startswith(late.NOTHING)
