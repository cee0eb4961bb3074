"""Every name that a trace uses, in one table.

Source: OpenTelemetry semantic conventions for generative AI (`gen_ai.*`), still marked as in development there; what
has no name in them begins with `interlock.`. No attribute holds text of a prompt or an answer.
"""

from __future__ import annotations

SERVICE = "service.name"
VERSION = "service.version"

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
CONVERSATION = "gen_ai.conversation.id"
INPUT = "gen_ai.usage.input_tokens"
OUTPUT = "gen_ai.usage.output_tokens"
CACHED = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE = "gen_ai.usage.cache_creation.input_tokens"
REASONING = "gen_ai.usage.reasoning.output_tokens"
ERROR = "error.type"

DECISION = "interlock.decision.id"
TENANT = "interlock.tenant"
CHOSEN = "interlock.chosen"
PROBABILITY = "interlock.probability"
POLICY = "interlock.policy"
SNAPSHOT = "interlock.snapshot"
CONFIG = "interlock.config"
DEGRADED = "interlock.degraded"
CANDIDATE = "interlock.candidate"
WHY = "interlock.why"
COST = "interlock.cost_usd"
FORBIDDEN = "interlock.forbidden"
PERMITTED = "interlock.permitted"

CHAT = "chat"
DECIDE, SIGNALS = "decide", "signals"
GUARDS_AND_ESTIMATE = "guards and estimate"
