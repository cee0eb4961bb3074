import pytest

from interlock.errors import ConfigError, RateLimited, Rejected
from interlock.providers import Recorder, Replay
from interlock.types import Chunk, Usage


class Live:
    def __init__(self, *chunks, error=None):
        self.chunks, self.error = chunks, error

    async def send(self, call):
        for chunk in self.chunks:
            yield chunk
        if self.error:
            raise self.error


async def collect(provider, call):
    return [chunk async for chunk in provider.send(call)]


CHUNKS = (
    Chunk(raw=b'{"x": "\xc3\xa9"}', text="é"),
    Chunk(raw=b"", usage=Usage(1, 2, 3, 4), finish="stop", confidence=0.5, energy=1e-9),
)


async def test_what_was_recorded_comes_back(tmp_path, call):
    path = str(tmp_path / "answers.jsonl")
    assert await collect(Recorder(Live(*CHUNKS), path), call("my diary", stream=True)) == list(CHUNKS)
    assert await collect(Replay(path), call("my diary", stream=True)) == list(CHUNKS)
    assert "diary" not in (tmp_path / "answers.jsonl").read_text()


async def test_errors_are_recorded_too(tmp_path, call):
    path = str(tmp_path / "answers.jsonl")
    with pytest.raises(RateLimited):
        await collect(Recorder(Live(error=RateLimited("x", retry_after=3.0)), path), call())
    with pytest.raises(RateLimited) as caught:
        await collect(Replay(path), call())
    assert caught.value.retry_after == 3.0


async def test_the_last_recording_counts_and_ids_do_not(tmp_path, call):
    path = str(tmp_path / "answers.jsonl")
    for text in ("first", "second"):
        await collect(Recorder(Live(Chunk(raw=b"", text=text)), path), call(id=text, tenant=text))
    assert [chunk.text for chunk in await collect(Replay(path), call(id="third"))] == ["second"]


OTHERS = [{"prompt": "else"}, {"stream": True}, {"body": {"temperature": 1}}, {"options": {"x": 1}}]


@pytest.mark.parametrize("other", OTHERS)
async def test_a_call_that_was_not_recorded_is_said_so(tmp_path, call, other):
    path = tmp_path / "answers.jsonl"
    await collect(Recorder(Live(*CHUNKS), str(path)), call())
    with pytest.raises(Rejected, match=r"no recording of this .*answers\.jsonl; wrap the live provider in Recorder"):
        await collect(Replay(str(path)), call(**other))


async def test_a_call_given_up_is_not_recorded(tmp_path, call):
    path = tmp_path / "answers.jsonl"
    chunks = Recorder(Live(*CHUNKS), str(path)).send(call())
    await anext(chunks)
    await chunks.aclose()
    assert not path.exists()


def test_a_bad_file_is_located(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"key": "x"}\n\n{"key": 3}\n')
    with pytest.raises(ConfigError, match=r"answers\.jsonl:3: not a recording") as caught:
        Replay(str(path))
    assert caught.value.line == 3
    with pytest.raises(ConfigError, match="cannot read"):
        Replay(str(tmp_path / "none"))
