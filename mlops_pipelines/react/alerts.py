"""Tells people: always in the log, and at every Apprise URL of the environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)


class Alerts:
    """Where people are told; `urls` are Apprise URLs, which hold secrets and are never shown."""

    def __init__(self, urls: Sequence[str] = ()) -> None:
        self._urls = tuple(urls)

    def send(
        self, title: str, body: str, *, model: str, tags: Mapping[str, str] | None = None
    ) -> int:
        """Log an alert and send it to each URL; how many of them took it. Never raises.

        `tags` (version, day, action) go to the log line as fields and to the message as lines.
        """
        fields = {"model": model, **(tags or {})}
        log.warning("alert: %s: %s", title, body, extra={"alert": fields})
        if not self._urls:
            return 0
        lines = [body, "", *(f"{name}: {value}" for name, value in fields.items())]
        return sum(
            self._deliver(index, url, title, "\n".join(lines), model)
            for index, url in enumerate(self._urls)
        )

    def _deliver(self, index: int, url: str, title: str, body: str, model: str) -> bool:
        # Apprise logs what it does with addresses in the text; ours is the only line about it.
        apprise_log = logging.getLogger("apprise")
        was, apprise_log.disabled = apprise_log.disabled, True
        try:
            from apprise import Apprise, NotifyType

            sender = Apprise()
            if not sender.add(url):
                return self._failed(index, url, model, "it is not an Apprise URL")
            if not sender.notify(body=body, title=title, notify_type=NotifyType.WARNING):
                return self._failed(index, url, model, "it did not take the message")
        except Exception as error:  # noqa: BLE001 (an alert must not break what it tells of)
            return self._failed(index, url, model, type(error).__name__)
        finally:
            apprise_log.disabled = was
        return True

    @staticmethod
    def _failed(index: int, url: str, model: str, why: str) -> bool:
        # Only the scheme is shown: in many Apprise URLs even the host is a token.
        scheme = url.partition("://")[0] if "://" in url else "no scheme"
        log.warning(
            "alert not sent to alerts.urls[%d] (%s): %s",
            index,
            scheme,
            why,
            extra={"alert": {"model": model}},
        )
        return False
