"""Who answers at the address that callers know."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

ANSWER_SECONDS = 10.0


def unanswered(address: str, model: str, version: int) -> str | None:
    """What is wrong with the answer at the public address; None if it is this version's."""
    request = urllib.request.Request(f"{address}/health/ready", headers={"connection": "close"})
    try:
        # A proxy of the environment has no business between this machine and itself.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=ANSWER_SECONDS) as response:
            said = json.load(response)
    except urllib.error.HTTPError as error:
        return f"{address} answers {error.code}"
    except (OSError, ValueError) as error:
        return f"{address} does not answer: {error}"
    if (said.get("model"), said.get("version")) != (model, version):
        return f"{address} is answered by {said.get('model')} version {said.get('version')}"
    return None
