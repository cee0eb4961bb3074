import json

import pytest

from interlock.providers.detect import detect, ollama_address

NOBODY = {"OLLAMA_HOST": "127.0.0.1:9"}


async def test_nothing_is_found_and_said_why():
    found, [note] = await detect(NOBODY)
    assert found == []
    assert note.startswith("no Ollama at http://127.0.0.1:9: cannot connect")


async def test_keys_are_found_by_name_only():
    found, _ = await detect({**NOBODY, "OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"})
    assert [(one.kind, one.base_url, one.secret) for one in found] == [
        ("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    ]
    assert "sk-" not in repr(found)


async def test_base_urls_of_the_environment_count_and_blank_keys_do_not():
    elsewhere = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://gw/v1", "ANTHROPIC_API_KEY": " "}
    found, _ = await detect({**NOBODY, **elsewhere})
    assert [one.base_url for one in found] == ["http://gw/v1"]


def ollama(tags, shown=None):
    """Plays an Ollama that lists `tags` and shows the models in `shown`, each with what it says."""

    async def play(peer):
        while True:
            head, body = await peer.receive()
            if head.startswith(b"GET /api/tags "):
                await peer.answer(json.dumps({"models": tags}).encode())
            else:
                assert head.startswith(b"POST /api/show ")
                said = (shown or {}).get(json.loads(body)["model"])
                await (peer.answer(b"{}", "404 Not Found") if said is None else peer.answer(json.dumps(said).encode()))

    return play


async def test_an_ollama_that_answers(serve):
    server = await serve(ollama([{"name": "qwen3:4b", "size": 1}, {"name": "llama3.2"}]))
    [one], notes = await detect({"OLLAMA_HOST": server.url}, budget=5.0)
    assert (one.kind, one.base_url, one.secret) == ("openai", server.url + "/v1", "")
    assert one.models == ("qwen3:4b", "llama3.2")
    assert notes == []


async def test_models_that_only_embed_are_left_out(serve):
    """Newer versions list what a model can do, older ones show it, the oldest know its family."""
    tags = [
        {"name": "listed-chat", "capabilities": ["completion", "tools"]},
        {"name": "listed-embed", "capabilities": ["embedding"]},
        {"name": "shown-chat", "details": {"family": "gemma3"}},
        {"name": "shown-embed", "details": {"family": "gemma3"}},
        {"name": "old-chat", "details": {"family": "llama"}},
        {"name": "old-embed", "details": {"family": "nomic-bert"}},
        {"name": "unsaid"},
    ]
    shown = {
        "shown-chat": {"capabilities": ["completion"]},
        "shown-embed": {"capabilities": ["embedding"]},
        "unsaid": {},
    }
    server = await serve(ollama(tags, shown))
    [one], _ = await detect({"OLLAMA_HOST": server.url}, budget=5.0)
    assert one.models == ("listed-chat", "shown-chat", "old-chat", "unsaid")
    asked = [json.loads(body)["model"] for head, body in server.requests if head.startswith(b"POST")]
    assert sorted(asked) == ["old-chat", "old-embed", "shown-chat", "shown-embed", "unsaid"]


@pytest.mark.parametrize("body", [b"<html>", b'{"models": [{}]}', b"[]", b"\xff"])
async def test_something_else_on_ollamas_port(serve, body):
    async def other(peer):
        await peer.receive()
        await peer.answer(body)

    server = await serve(other)
    found, [note] = await detect({"OLLAMA_HOST": server.url})
    assert found == []
    assert "does not answer like Ollama" in note


async def test_a_silent_port_costs_no_more_than_the_budget(serve):
    async def silent(peer):
        await peer.gone()

    server = await serve(silent)
    found, [note] = await detect({"OLLAMA_HOST": server.url}, budget=0.02)
    assert found == []
    assert "deadline passed" in note or "in time" in note


async def test_a_malformed_address_is_a_note():
    _, [note] = await detect({"OLLAMA_HOST": "ftp://x"})
    assert "scheme" in note


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("box:1234/", "http://box:1234"),
        ("https://box", "https://box:11434"),
        (":8080", "http://127.0.0.1:8080"),
    ],
)
def test_ollama_host(host, address):
    assert ollama_address({"OLLAMA_HOST": host}) == address
