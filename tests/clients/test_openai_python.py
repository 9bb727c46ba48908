"""``openai`` for Python, as its documentation uses it: each of its ways gets what a real vLLM answered."""

import asyncio
import json
from typing import Any, Literal

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.inference.double import SECRET, Running

pytestmark = pytest.mark.slow

MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "ICD-10-CM chapter desk."},
    {"role": "user", "content": "wheezing after exercise"},
]
GREEDY: dict[str, Any] = {"model": "desk", "max_tokens": 8, "temperature": 0, "seed": 1}
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "route",
        "description": "Send the case to a desk.",
        "parameters": {
            "type": "object",
            "properties": {"desk": {"type": "string", "enum": ["lungs", "heart"]}},
            "required": ["desk"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
NAMED: Any = {"type": "function", "function": {"name": "route"}}
WITH_TOOL: dict[str, Any] = {**GREEDY, "max_tokens": 80, "tools": [TOOL], "tool_choice": NAMED}


class Routed(BaseModel):
    """A structured answer."""

    desk: Literal["lungs", "heart"]
    urgent: bool


def synchronous(proxy: Running) -> OpenAI:
    return OpenAI(base_url=f"{proxy.url}/v1", api_key=SECRET, max_retries=0)


async def test_synchronous_whole_and_streamed_say_the_same(proxy: Running) -> None:
    def ask() -> tuple[Any, str]:
        with synchronous(proxy) as client:
            whole = client.chat.completions.create(messages=MESSAGES, **GREEDY)
            text = ""
            with client.chat.completions.create(messages=MESSAGES, stream=True, **GREEDY) as parts:
                for part in parts:
                    text += part.choices[0].delta.content or ""
            return whole, text

    whole, text = await asyncio.to_thread(ask)
    assert whole.choices[0].message.content == text != ""
    assert whole.choices[0].finish_reason == "length"
    assert whole.choices[0].logprobs is None
    assert whole.usage.completion_tokens == 8
    assert whole.model == "desk"


async def test_a_raw_answer_shows_the_exchange(proxy: Running) -> None:
    raw = await proxy.openai.chat.completions.with_raw_response.create(messages=MESSAGES, **GREEDY)
    (exchange,) = await proxy.exchanges(1)
    assert raw.headers["x-flywheel-exchange-id"] == exchange.exchange_id
    assert raw.parse().choices[0].message.content == exchange.choices[0].text


async def test_the_streaming_helper_ends_with_the_whole_answer(proxy: Running) -> None:
    asked = {**GREEDY, "stop": [" can"]}  # the helper takes an answer that was cut off for an error
    async with proxy.openai.chat.completions.stream(messages=MESSAGES, **asked) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert kinds.count("content.delta") > 4
    assert kinds[-1] in ("content.done", "chunk")
    assert final.choices[0].message.content
    assert final.usage is None, "nobody asked for it"
    assert not final.choices[0].logprobs


async def test_usage_and_logprobs_come_when_they_are_asked_for(proxy: Running) -> None:
    parts = await proxy.openai.chat.completions.create(
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
        logprobs=True,
        top_logprobs=2,
        **GREEDY,
    )
    tokens: list[Any] = []
    usage = None
    async for part in parts:
        usage = part.usage or usage
        for choice in part.choices:
            tokens += choice.logprobs.content or [] if choice.logprobs else []
    assert usage is not None
    assert usage.completion_tokens == len(tokens) == 8
    assert all(len(token.top_logprobs) == 2 for token in tokens)
    assert not any(token.token.startswith("token_id:") for token in tokens)


async def test_a_structured_answer_is_parsed(proxy: Running) -> None:
    asked: dict[str, Any] = {**GREEDY, "max_tokens": 40}
    whole = await proxy.openai.chat.completions.parse(messages=MESSAGES, response_format=Routed, **asked)
    assert isinstance(whole.choices[0].message.parsed, Routed)
    async with proxy.openai.chat.completions.stream(
        messages=MESSAGES, response_format=Routed, **asked
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == whole.choices[0].message.parsed


async def test_a_structured_answer_that_is_cut_off_is_said_to_be(proxy: Running) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        await proxy.openai.chat.completions.parse(
            messages=MESSAGES, response_format=Routed, **{**GREEDY, "max_tokens": 3}
        )


async def test_a_tool_is_called(proxy: Running) -> None:
    whole = await proxy.openai.chat.completions.create(messages=MESSAGES, **WITH_TOOL)
    (call,) = whole.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "route"
    assert json.loads(call.function.arguments)["desk"] in ("lungs", "heart")
    async with proxy.openai.chat.completions.stream(messages=MESSAGES, **WITH_TOOL) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_completion()
    done = [one for one in events if one.type == "tool_calls.function.arguments.done"]
    assert [(one.name, one.arguments) for one in done] == [(call.function.name, call.function.arguments)]
    (streamed,) = final.choices[0].message.tool_calls or []
    assert streamed.function.arguments == call.function.arguments
    for exchange in await proxy.exchanges(2):
        assert exchange.status == 200


async def test_a_tools_result_goes_back_into_the_conversation(proxy: Running) -> None:
    used: list[ChatCompletionMessageParam] = [
        *MESSAGES,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "route", "arguments": '{"desk": "lungs"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "taken"},
    ]
    answer = await proxy.openai.chat.completions.create(messages=used, **{**WITH_TOOL, "tool_choice": "none"})
    assert answer.choices[0].message.content


async def test_several_choices(proxy: Running) -> None:
    asked: dict[str, Any] = {**GREEDY, "temperature": 1, "n": 2}
    whole = await proxy.openai.chat.completions.create(messages=MESSAGES, **asked)
    texts = {0: "", 1: ""}
    async for part in await proxy.openai.chat.completions.create(messages=MESSAGES, stream=True, **asked):
        for choice in part.choices:
            texts[choice.index] += choice.delta.content or ""
    assert [choice.message.content for choice in whole.choices] == [texts[0], texts[1]]


async def test_text_completions(proxy: Running) -> None:
    asked: dict[str, Any] = {**GREEDY, "prompt": "The lungs are"}
    whole = await proxy.openai.completions.create(**asked)
    parts = await proxy.openai.completions.create(**asked, stream=True)
    text = "".join([part.choices[0].text async for part in parts])
    assert whole.choices[0].text == text != ""


async def test_the_engines_refusal_is_the_clients_exception(proxy: Running) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await proxy.openai.chat.completions.create(messages=MESSAGES, **{**GREEDY, "temperature": -1})
    assert caught.value.status_code == 400
    assert isinstance(caught.value.body, dict)
    assert "temperature" in caught.value.body["message"]
    assert caught.value.type == caught.value.body["type"] == "BadRequestError"


@pytest.mark.parametrize(
    ("secret", "model", "kind", "code"),
    [
        ("fw-wrong", "desk", openai.AuthenticationError, "invalid_api_key"),
        (SECRET, "other", openai.NotFoundError, "model_not_found"),
    ],
)
async def test_the_proxys_refusal_is_the_clients_exception(
    proxy: Running, secret: str, model: str, kind: type[openai.APIStatusError], code: str
) -> None:
    async with AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=secret, max_retries=0) as client:
        for stream in (False, True):
            with pytest.raises(kind) as caught:
                await client.chat.completions.create(messages=MESSAGES, model=model, stream=stream)
            assert caught.value.code == code
            assert caught.value.message


@pytest.mark.parametrize(
    ("order", "kind"),
    [
        ("HTTP 500", openai.InternalServerError),
        ("HTTP 429", openai.RateLimitError),
        ("hang", openai.InternalServerError),
        ("no json", openai.InternalServerError),
    ],
)
async def test_an_engine_that_fails_is_the_clients_exception(
    ordered: Running, order: str, kind: type[openai.APIStatusError]
) -> None:
    for stream in (False, True):
        with pytest.raises(kind) as caught:
            await ordered.openai.chat.completions.create(
                model="desk", messages=[{"role": "user", "content": order}], stream=stream
            )
        assert caught.value.body


async def test_a_stream_that_breaks_off_is_an_exception(ordered: Running) -> None:
    for order in ("begin and stop", "begin and hang", "error inside", "malformed"):
        parts = await ordered.openai.chat.completions.create(
            model="desk", messages=[{"role": "user", "content": order}], stream=True
        )
        assert (await anext(parts)).choices[0].delta.content == "one"
        with pytest.raises(openai.APIError) as caught:
            await anext(parts)
        assert caught.value.message


RESPONSE: dict[str, Any] = {"model": "desk", "input": "wheezing after exercise", "temperature": 0}


async def test_responses_whole_and_streamed_say_the_same(proxy: Running) -> None:
    asked = {**RESPONSE, "max_output_tokens": 8}
    whole = await proxy.openai.responses.create(**asked)
    assert whole.output_text
    assert whole.model == "desk"
    assert whole.usage is not None
    assert whole.usage.output_tokens == 8
    async with proxy.openai.responses.stream(**asked) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds.count("response.output_text.delta") > 4
    assert final.output_text == whole.output_text
    assert final.model == "desk"
    for exchange in await proxy.exchanges(2):
        assert exchange.choices[0].text == whole.output_text


async def test_a_structured_response_is_parsed(proxy: Running) -> None:
    whole = await proxy.openai.responses.parse(**RESPONSE, max_output_tokens=60, text_format=Routed)
    assert isinstance(whole.output_parsed, Routed)


async def test_a_refused_response_is_the_clients_exception(proxy: Running) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await proxy.openai.responses.create(**{**RESPONSE, "temperature": -1})
    assert isinstance(caught.value.body, dict)
    assert "temperature" in caught.value.body["message"]


async def test_embeddings_come_as_numbers(ordered: Running) -> None:
    made = await ordered.openai.embeddings.create(model="desk", input=["wheezing", "a cough"])
    assert [one.index for one in made.data] == [0, 1]
    assert all(isinstance(number, float) for one in made.data for number in one.embedding)
    assert len(made.data[0].embedding) == len(made.data[1].embedding) > 100
    assert made.model == "desk"
