"""The policy and the trust of a configuration, for verbs that fold a ledger without a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import Settings
    from ..learning.trust import Trust
    from ..policy import Policy


def settings_policy_and_trust(config: Path | None) -> tuple[Settings, Policy, Trust]:
    """As the learner of a gateway with this configuration has them. Raises ConfigError."""
    from ..assembly import build_policy, trust_of
    from ..config import from_document, load
    from ..offered import offer
    from ..signals import build

    settings = load(config) if config is not None else from_document(offer().document)
    policy = build_policy(settings, build(settings.signal_names(), settings.signals, settings.vector))
    return settings, policy, trust_of(settings)


def policy_and_trust(config: Path | None) -> tuple[Policy, Trust]:
    """The same without the settings."""
    return settings_policy_and_trust(config)[1:]
