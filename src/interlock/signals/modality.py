"""Modality: whether a request holds anything but text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..types import Request, Signal
from .base import Reading, log_scale

_KINDS = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "video_url": "video",
    "file": "file",
    "input_file": "file",
    "document": "file",
}


@dataclass(frozen=True)
class Modality:
    """`value` lists the kinds joined by `+` in alphabetical order, e.g. `image+text`, with `text` for plain requests.

    Part types it does not know count as `other`, with confidence 0.5.
    """

    name: ClassVar[str] = "modality"
    requires: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[str, ...]] = ("image", "audio", "video", "file", "other")

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        counts = dict.fromkeys(self.columns, 0)
        text = False
        for message in request.messages:
            if isinstance(message.content, str) or message.content is None:
                text = text or bool(message.content)
                continue
            for part in message.content:
                kind = str(part.get("type", ""))
                if kind in ("text", "input_text", "output_text", "refusal", "tool_result", "tool_use", "thinking"):
                    text = True
                else:
                    counts[_KINDS.get(kind, "other")] += 1
        found = sorted(kind for kind, times in counts.items() if times)
        value = "+".join(sorted([*found, "text"] if text or not found else found))
        confidence = 0.5 if counts["other"] else 1.0
        return Reading(Signal(self.name, value, confidence), [log_scale(times, 16) for times in counts.values()])
