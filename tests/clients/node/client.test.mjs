// `openai` for Node, as its documentation uses it, against the proxy at BASE_URL. Run by test_openai_node.py.
import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const messages = [
  { role: "system", content: "ICD-10-CM chapter desk." },
  { role: "user", content: "wheezing after exercise" },
];
const greedy = { model: "desk", max_tokens: 8, temperature: 0, seed: 1, messages };
const tool = {
  type: "function",
  function: {
    name: "route",
    description: "Send the case to a desk.",
    parameters: {
      type: "object",
      properties: { desk: { type: "string", enum: ["lungs", "heart"] } },
      required: ["desk"],
      additionalProperties: false,
    },
    strict: true,
  },
};
const withTool = {
  ...greedy,
  max_tokens: 80,
  tools: [tool],
  tool_choice: { type: "function", function: { name: "route" } },
};
const Routed = z.object({ desk: z.enum(["lungs", "heart"]), urgent: z.boolean() });

test("whole and streamed say the same", async () => {
  const whole = await client.chat.completions.create(greedy);
  let text = "";
  for await (const part of await client.chat.completions.create({ ...greedy, stream: true })) {
    text += part.choices[0].delta.content ?? "";
    assert.equal(part.choices[0].logprobs ?? null, null);
  }
  assert.ok(text);
  assert.equal(whole.choices[0].message.content, text);
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.equal(whole.model, "desk");
  assert.equal(whole.usage.completion_tokens, 8);
});

test("the exchange's id comes with the answer", async () => {
  const { response } = await client.chat.completions.create(greedy).withResponse();
  assert.match(response.headers.get("x-flywheel-exchange-id"), /^[0-9a-f-]{36}$/);
});

test("the streaming helper ends with the whole answer", async () => {
  const stream = client.chat.completions.stream({ ...greedy, stop: [" can"] });
  let pieces = 0;
  stream.on("content", () => (pieces += 1));
  const final = await stream.finalChatCompletion();
  assert.ok(pieces > 4);
  assert.ok(final.choices[0].message.content);
});

test("usage comes when it is asked for", async () => {
  const asked = { ...greedy, stream: true, stream_options: { include_usage: true } };
  let usage = null;
  for await (const part of await client.chat.completions.create(asked)) usage = part.usage ?? usage;
  assert.equal(usage.completion_tokens, 8);
});

test("a structured answer is parsed", async () => {
  const asked = { ...greedy, max_tokens: 40, response_format: zodResponseFormat(Routed, "routed") };
  const whole = await client.chat.completions.parse(asked);
  assert.equal(typeof whole.choices[0].message.parsed.urgent, "boolean");
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.parsed, whole.choices[0].message.parsed);
});

test("a tool is called, streamed and not", async () => {
  const whole = await client.chat.completions.create(withTool);
  const [call] = whole.choices[0].message.tool_calls;
  assert.equal(call.function.name, "route");
  assert.ok(["lungs", "heart"].includes(JSON.parse(call.function.arguments).desk));
  const final = await client.chat.completions.stream(withTool).finalChatCompletion();
  assert.equal(final.choices[0].message.tool_calls[0].function.arguments, call.function.arguments);
});

test("tools are run by the helper", async () => {
  const seen = [];
  const runner = client.chat.completions.runTools({
    ...withTool,
    tools: [{ ...tool, function: { ...tool.function, parse: JSON.parse, function: (given) => void seen.push(given) } }],
  });
  await runner.done();
  assert.equal(seen.length, 1);
});

test("refusals are the client's exceptions", async () => {
  await assert.rejects(client.chat.completions.create({ ...greedy, temperature: -1 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.match(error.error.message, /temperature/);
    assert.equal(error.type, "BadRequestError");
    return true;
  });
  await assert.rejects(client.chat.completions.create({ ...greedy, model: "other" }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    return true;
  });
  const stranger = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "fw-wrong", maxRetries: 0 });
  await assert.rejects(stranger.chat.completions.create({ ...greedy, stream: true }), (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, "invalid_api_key");
    return true;
  });
});

test("a stream can be left in the middle", async () => {
  const stream = await client.chat.completions.create({ ...greedy, stream: true });
  for await (const part of stream) {
    assert.ok(part.id);
    break;
  }
  assert.ok((await client.models.list()).data.some((model) => model.id === "desk"));
});

test("responses, whole and streamed, say the same", async () => {
  const asked = { model: "desk", input: "wheezing after exercise", temperature: 0, max_output_tokens: 8 };
  const whole = await client.responses.create(asked);
  assert.ok(whole.output_text);
  let text = "";
  for await (const event of await client.responses.create({ ...asked, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.equal(text, whole.output_text);
});
