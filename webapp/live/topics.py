"""Which topics clients may follow, how they name them, and what they need for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from webapp.principal import Principal

SCOPES = {"job": "jobs:read", "workflow": "jobs:read", "workspace": "documents:read", "conversation": "documents:read"}
_TOPIC = re.compile(rf"({'|'.join(SCOPES)}):[A-Za-z0-9_-]{{1,128}}")
_EVENT_ID = re.compile(r"[0-9]{1,18}(-[0-9]{1,18})?")


class BadRequest(Exception):
    """What the client sent can't be done; `code` is for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def topic_of(message: Mapping[str, Any], principal: Principal) -> str:
    """The topic of {"topic": "job:ID"}, {"jobId": ID} and so on. Raises BadRequest for none or a forbidden one."""
    named = [f"{kind}:{message[f'{kind}Id']}" for kind in SCOPES if f"{kind}Id" in message]
    named += [message["topic"]] if "topic" in message else []
    if len(named) != 1 or not isinstance(named[0], str) or not (match := _TOPIC.fullmatch(named[0])):
        raise BadRequest("bad_topic", 'name one topic: "job:ID", "workflow:ID", "workspace:ID" or "conversation:ID"')
    if not principal.may(SCOPES[match[1]]):
        raise BadRequest("forbidden", f"this needs {SCOPES[match[1]]}")
    return named[0]


def event_id_of(text: Any) -> str | None:
    """An event id to resume after; None where none was given. Raises BadRequest for anything else."""
    if text is None or text == "":
        return None
    if not isinstance(text, str) or not _EVENT_ID.fullmatch(text):
        raise BadRequest("bad_event_id", 'an event id looks like "1700000000000-0"')
    return text
