"""The page that people see."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Protocol

STYLE = """
:root { --paper: #fbf8f3; --ink: #2b2622; --soft: #80766c; --line: #e5ddd2; --mark: #a4442f;
  --card: #fff; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --paper: #1d1a18; --ink: #ece5dc; --soft: #9d9389;
  --line: #38322d; --mark: #e58a70; --card: #262220; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.6 Georgia, "Iowan Old Style", "Noto Serif", serif; }
main { max-width: 42rem; margin: 0 auto; padding: 4rem 1.25rem 6rem; }
h1 { font-size: 2.6rem; font-weight: 400; letter-spacing: -.02em; margin: 0; }
h2 { font-size: 1.1rem; font-weight: 400; color: var(--soft); margin: 3rem 0 .5rem; }
header p { color: var(--soft); margin: .25rem 0 2.5rem; }
form, article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1.1rem 1.25rem; margin: 0 0 1rem; }
input, textarea { width: 100%; font: inherit; color: inherit; background: none; border: 0;
  border-bottom: 1px solid var(--line); padding: .35rem 0; margin: 0 0 .75rem; }
input:focus, textarea:focus { outline: none; border-color: var(--mark); }
button { font: inherit; color: var(--paper); background: var(--mark); border: 0; cursor: pointer;
  border-radius: .4rem; padding: .4rem 1.2rem; }
article p { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
article footer { color: var(--soft); font-size: .85rem; margin-top: .5rem; }
a { color: var(--mark); }
"""

SCRIPT = """
document.getElementById('upload').addEventListener('change', async (event) => {
  const file = event.target.files[0];
  const name = file.name.replace(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '') || 'file';
  const answer = await fetch('/files/' + encodeURIComponent(name), {method: 'PUT', body: file});
  if (answer.ok) location.reload(); else alert(await answer.text());
});
"""


def _source(text: str) -> str:
    """A Content-Security-Policy source for this inline text and no other."""
    return "'sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)};"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Shown(Protocol):
    """What the page needs of an entry."""

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def at(self) -> datetime: ...


def page(title: str, entries: Sequence[Shown], count: int, files: Sequence[str], id: str) -> str:
    """HTML. `id` is for the entry that the form will make: sent twice, it is stored once."""
    written = "\n".join(_article(entry) for entry in entries) or "<p>Nobody has signed yet.</p>"
    number = f"{count} entry" if count == 1 else f"{count} entries"
    stored = "".join(f'<li><a href="/files/{escape(f)}">{escape(f)}</a></li>' for f in files)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header><h1>{escape(title)}</h1><p>{number} so far</p></header>
<form method="post" action="/entries">
<input type="hidden" name="id" value="{escape(id)}">
<input name="name" maxlength="80" placeholder="Your name" aria-label="Your name">
<textarea name="text" rows="3" maxlength="4000" required placeholder="Leave a word"
 aria-label="Your words"></textarea>
<button>Sign</button>
</form>
{written}
<h2>Files</h2>
<ul>{stored}</ul>
<label>Add one: <input id="upload" type="file"></label>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _article(entry: Shown) -> str:
    return (
        f"<article><p>{escape(entry.text)}</p>"
        f"<footer>{escape(entry.name)}, {entry.at:%d %B %Y, %H:%M}</footer></article>"
    )
