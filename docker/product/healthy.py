"""Whether what runs in this container does its work; the exit code says it.

healthy.py port 4000                               somebody listens there
healthy.py page http://127.0.0.1:3000/server_info  the page is answered
healthy.py daemons http://webserver:3000/graphql   every one of Dagster's daemons is at work
"""

from __future__ import annotations

import json
import socket
import sys
from urllib.request import Request, urlopen

SECONDS = 4
QUERY = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"


def port(number: str) -> None:
    """Raises OSError where nobody listens."""
    socket.create_connection(("127.0.0.1", int(number)), SECONDS).close()


def page(address: str) -> None:
    """Raises OSError where it is not answered."""
    urlopen(address, timeout=SECONDS).close()


def daemons(address: str) -> None:
    """Exits with the names of the daemons that are not at work."""
    asked = json.dumps({"query": QUERY}).encode()
    request = Request(address, asked, {"Content-Type": "application/json"})
    with urlopen(request, timeout=SECONDS) as answer:
        found = json.load(answer)["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    idle = [each["daemonType"] for each in found if each["required"] and not each["healthy"]]
    if idle:
        sys.exit(f"not at work: {', '.join(idle)}")


if __name__ == "__main__":
    {"port": port, "page": page, "daemons": daemons}[sys.argv[1]](sys.argv[2])
