from annotations.reading import Turn, read


def test_the_last_message_is_what_was_asked() -> None:
    found = read(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "wheezing?"},
            {"role": "assistant", "content": "Since when?"},
            {"role": "user", "content": [{"type": "text", "text": "since May"}, {"type": "image_url"}]},
        ]
    )
    assert found.asked == "since May\n[image]"
    assert found.earlier == [Turn("They asked", "wheezing?"), Turn("The assistant said", "Since when?")]
    assert found.instructions == "Be brief."


def test_a_tool_call_is_something_looked_up() -> None:
    call = {"function": {"name": "icd_search", "arguments": '{"term": "wheeze", "limit": 3}'}}
    found = read(
        [
            {"role": "user", "content": "wheezing"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "R06.2"},
        ]
    )
    assert found.earlier[1] == Turn("The assistant looked up", "icd_search: term = wheeze, limit = 3")
    assert found.asked == "R06.2"


def test_odd_messages_are_shown_not_lost() -> None:
    found = read([{"role": "robot", "content": None}, {"role": "user", "content": {"a": 1}}])
    assert found.earlier == [Turn("Somebody said", "(nothing)")]
    assert found.asked == '{"a": 1}'
    assert read([]).asked == ""
