"""Whom Caddy still answers when a drain ends, by the kernel's tables."""

from __future__ import annotations

from images.server import drain

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
ROW = "   0: {here} {there} {state} 00000000:00000000 00:00000000 00000000 {uid} 0 1 1\n"
MAPPED = "0000000000000000FFFF0000"
ANY = "00000000000000000000000000000000"
CADDY = 542


def row(here: str, there: str, state: str, uid: int = CADDY) -> str:
    return ROW.format(here=here, there=there, state=state, uid=uid)


def test_clients_of_caddys_are_waited_for_until_the_last_byte_is_confirmed() -> None:
    """Not the one who asks this by SSH, nor an app that Caddy asks, nor who has all of it."""
    us, user = f"{MAPPED}0B3364C6", f"{MAPPED}013364C6"
    text = HEAD + row("0100007F:4E20", "0100007F:C350", "01", 0) + HEAD
    text += row(f"{ANY}:0050", f"{ANY}:0000", "0A") + row(f"{ANY}:0016", f"{ANY}:0000", "0A", 0)
    text += row(f"{us}:0016", f"{user}:9000", "01", 0)
    text += row(f"{us}:0050", f"{user}:9001", "01")
    text += row(f"{us}:0050", f"{user}:9002", "04", 0)  # nobody's any more: Caddy has closed it
    text += row(f"{us}:0050", f"{user}:9003", "05", 0)
    text += row(f"{MAPPED}0100007F:0050", f"{MAPPED}0100007F:9004", "01")
    text += row(f"{us}:9005", f"{user}:01BB", "01")
    found = {(f"{us}:0050", f"{user}:9001"), (f"{us}:0050", f"{user}:9002")}
    assert drain.clients(text, CADDY) == found


def test_without_a_caddy_there_is_nobody() -> None:
    assert drain.clients(HEAD + HEAD, CADDY) == set()
