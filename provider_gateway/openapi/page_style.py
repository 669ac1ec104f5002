"""The style of the documentation page, and the headers that let a browser use it and nothing else."""

from __future__ import annotations

import base64
from hashlib import sha256

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #1558a6; }
@media (prefers-color-scheme: dark) { :root { --accent: #8ab8f0; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { margin-bottom: 0; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
a { color: var(--accent); }
nav ul { list-style: none; padding: 0; columns: 2 20rem; }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
pre { background: var(--soft); padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
article { border: 1px solid var(--line); border-radius: .4rem; padding: 0 1rem 1rem; margin: 1rem 0; }
h3 { overflow-wrap: anywhere; }
h3 .method { color: var(--accent); }
h4 { margin: 1rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-top: 1px solid var(--line); }
th { font-weight: 600; white-space: nowrap; width: 1%; }
td { overflow-wrap: break-word; }
td code { overflow-wrap: anywhere; }
td > :first-child { margin-top: 0; }
td > :last-child { margin-bottom: 0; }
td ul { padding-left: 1.2rem; }
.soft { opacity: .75; }
"""
_HASH = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
#: Headers of the page. The one style is allowed by its hash; there is no script, no form, and nothing to load.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
