from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from interlock.pocket.tokenizer import ANS, CHK, EOS, REFUSE, encode
from interlock.pocket.transcript import Piece, Transcript


def feed(transcript: Transcript, tokens: list[int]) -> list[Piece]:
    pieces = []
    for token in tokens:
        pieces.append(transcript.feed(token))
        if transcript.finish:
            break
    return pieces


def test_reasoning_ends_at_the_answer_token() -> None:
    transcript = Transcript(thinks=True)
    pieces = feed(transcript, [*encode("1+2"), ANS, *encode("3"), EOS])
    assert (transcript.reasoning, transcript.text, transcript.finish) == ("1+2", "3", "stop")
    assert transcript.reasoning_tokens == 4
    assert [piece.answering for piece in pieces] == [False] * 4 + [True, True]


def test_a_self_check_stands_on_a_line_of_its_own() -> None:
    transcript = Transcript(thinks=True)
    feed(transcript, [*encode("ab"), CHK, *encode("ab"), ANS, EOS])
    assert (transcript.reasoning, transcript.text) == ("ab\nab", "")


def test_without_an_answer_token_all_is_reasoning() -> None:
    transcript = Transcript(thinks=True, stop=("b",))
    feed(transcript, [*encode("abc"), EOS])
    assert (transcript.reasoning, transcript.text, transcript.reasoning_tokens) == ("abc", "", 3)


def test_the_refusal_token_is_noticed_and_has_no_text() -> None:
    transcript = Transcript(thinks=False)
    feed(transcript, [REFUSE, EOS])
    assert transcript.refused
    assert transcript.text == ""


def test_the_earliest_stop_string_wins_and_is_left_out() -> None:
    transcript = Transcript(thinks=False, stop=("cd", "bc"))
    feed(transcript, encode("abcd"))
    assert (transcript.text, transcript.finish) == ("a", "stop")


def test_the_start_of_a_stop_string_is_held_back_until_it_cannot_be_one() -> None:
    transcript = Transcript(thinks=False, stop=("##",))
    shown = [transcript.feed(token).text for token in encode("7#8#")]
    assert shown == ["7", "", "#8", ""]
    assert transcript.flush().text == "#"


@given(st.text("ab#\n ", max_size=30), st.lists(st.text("ab#", min_size=1, max_size=4), max_size=3))
def test_what_is_shown_is_the_text_before_the_first_stop(text: str, stop: list[str]) -> None:
    transcript = Transcript(thinks=False, stop=tuple(stop))
    shown = "".join(piece.text for piece in feed(transcript, [*encode(text), EOS]))
    starts = [text.find(s) for s in stop if s in text]
    # Text arrives token by token, so the stop that is completed first ends it, even if another begins earlier.
    assert shown == transcript.text
    assert not any(s in shown for s in stop)
    assert text.startswith(shown)
    assert len(shown) <= min(starts, default=len(text)) + max(map(len, stop), default=0)
    if not starts:
        assert shown == text
