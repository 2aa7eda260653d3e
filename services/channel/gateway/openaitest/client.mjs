// SPDX-License-Identifier: MIT OR Apache-2.0

// What a program does with the stock client, step by step. It prints one JSON
// object with what each step saw; the Go test beside this file judges it.
import OpenAI from 'openai';

const { BASE_URL: baseURL, TOKEN: token } = process.env;
const client = new OpenAI({ baseURL, apiKey: token, timeout: 20_000 });

const ask = (content, more = {}) => ({ model: 'blufio', messages: [{ role: 'user', content }], ...more });

// failure is what the client makes of an error of the server.
const failure = async (promise) => {
  try {
    await promise;
    return { error: 'none' };
  } catch (e) {
    return { error: e.constructor.name, status: e.status, code: e.code, type: e.type, param: e.param, message: e.message };
  }
};

// collect reads a stream to its end.
const collect = async (stream) => {
  const seen = { text: '', chunks: 0, finish: [], usage: null, id: '' };
  for await (const chunk of stream) {
    seen.chunks++;
    seen.id = chunk.id;
    seen.usage = chunk.usage ?? seen.usage;
    for (const choice of chunk.choices) {
      seen.text += choice.delta.content ?? '';
      if (choice.finish_reason) seen.finish.push(choice.finish_reason);
    }
  }
  return seen;
};

const steps = {
  models: async () => (await client.models.list()).data.map((m) => m.id),
  model: async () => (await client.models.retrieve('blufio')).object,
  unknownModel: () => failure(client.models.retrieve('gpt-4o')),

  chat: async () => {
    const done = await client.chat.completions.create(ask('what is this?', { temperature: 0.2, max_tokens: 50 }));
    const [choice] = done.choices;
    return { text: choice.message.content, role: choice.message.role, finish: choice.finish_reason, total: done.usage.total_tokens, id: done.id };
  },
  stream: async () => collect(await client.chat.completions.create(ask('what is this?', { stream: true, stream_options: { include_usage: true } }))),
  helper: async () => client.chat.completions.stream(ask('what is this?')).finalContent(),

  // Two requests of one user are one conversation.
  remember: async () => (await client.chat.completions.create(ask('remember that the key is under the mat', { user: 'lasting' }))).choices[0].message.content,
  recall: async () => (await client.chat.completions.create(ask('recall key', { user: 'lasting' }))).choices[0].message.content,

  abort: async () => {
    const stream = await client.chat.completions.create(ask('an answer that nobody waits for', { stream: true }));
    for await (const chunk of stream) {
      stream.controller.abort();
      return chunk.id;
    }
    return '';
  },

  badToken: () => failure(new OpenAI({ baseURL, apiKey: token.slice(0, -4) + 'AAAA' }).models.list()),
  badModel: () => failure(client.chat.completions.create({ ...ask('x'), model: 'gpt-4o' })),
  badModelStream: () => failure(client.chat.completions.create({ ...ask('x', { stream: true }), model: 'gpt-4o' })),
  image: () => failure(client.chat.completions.create(ask([{ type: 'image_url', image_url: { url: 'data:,' } }]))),
  tools: () => failure(client.chat.completions.create(ask('x', { tools: [{ type: 'function', function: { name: 'f' } }] }))),
};

const seen = {};
for (const [name, step] of Object.entries(steps)) seen[name] = await step();
console.log(JSON.stringify(seen));
