"""Makes a self-contained page small: its long scripts are compressed, and unpacked by the browser.

Browsers have `DecompressionStream` since 2023 (https://compression.spec.whatwg.org); an older one
is told so in a line, and what stands above the scripts is read all the same.
"""

from __future__ import annotations

import base64
import re
import zlib

LONG = 20_000
"""Characters from which compressing a script pays."""

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)

_LOADER = """<script>
(async () => {
  const unpacked = async part => {
    if (part.type !== "application/zlib") return part.textContent;
    const bytes = Uint8Array.from(atob(part.textContent), each => each.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  };
  try {
    for (const part of document.querySelectorAll("script[data-part]")) {
      const script = document.createElement("script");
      script.text = await unpacked(part);
      part.replaceWith(script);
    }
  } catch (error) {
    const line = document.createElement("p");
    line.textContent = "The pictures below need a browser of 2023 or later: " + error;
    document.body.append(line);
  }
})();
</script>"""


def compressed(page: str) -> str:
    """`page` with its inline scripts compressed, run in their order once it is shown.

    A page without long scripts is left as it is.
    """
    if not any(len(script) > LONG for script in _SCRIPT.findall(page)):
        return page
    packed = _SCRIPT.sub(_packed, page)
    head, end, tail = packed.rpartition("</body>")
    return f"{head}{_LOADER}{end}{tail}"


def _packed(found: re.Match[str]) -> str:
    text = found[1]
    if len(text) <= LONG:
        return f'<script type="text/plain" data-part>{text}</script>'
    content = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return f'<script type="application/zlib" data-part>{content}</script>'
