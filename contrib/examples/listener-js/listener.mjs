// SPDX-License-Identifier: MIT OR Apache-2.0

// listener.mjs prints what happens in a blufio, one JSON object a line. It is an
// example: it knows nothing of blufio but bus/EVENTS.md.
//
//   blufio keys issue --role observer --name listener
//   npm install
//   node listener.mjs --context listener.json                # live
//   node listener.mjs --context listener.json --seq 1        # replay by number
//   node listener.mjs --context listener.json --since 2h     # replay by time
//
// A replay goes on live when it has caught up. Instead of --context, give --url,
// --seed FILE and --inbox PREFIX, or BLUFIO_CONTEXT, BLUFIO_URL, … in the environment.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { connect, DeliverPolicy, nkeyAuthenticator } from "nats";

const prefix = "blufio.v1.evt."; // of every event's subject
const stream = "EVENTS"; // keeps them

const text = { type: "string" };
const { values: given } = parseArgs({
  options: { context: text, url: text, seed: text, inbox: text, events: text, seq: text, since: text, count: text },
});
const env = process.env;
const options = { context: env.BLUFIO_CONTEXT, url: env.BLUFIO_URL, seed: env.BLUFIO_SEED, inbox: env.BLUFIO_INBOX, events: ">", ...given };

// settings are the flags, and what they leave open from the context file.
function settings() {
  const file = options.context ? JSON.parse(readFileSync(options.context, "utf8")) : {};
  const url = options.url ?? file.url;
  const seed = options.seed ?? file.nkey;
  const inbox = options.inbox ?? file.inbox_prefix;
  if (!url || !seed || !inbox) {
    throw new Error("give --context, or --url, --seed and --inbox");
  }
  return { url, seed: readFileSync(seed, "utf8").trim(), inbox };
}

// milliseconds reads 90s, 15m, 2h or 7d.
function milliseconds(duration) {
  const [, number, unit] = /^(\d+)([smhd])$/.exec(duration) ?? [];
  if (!unit) {
    throw new Error(`--since ${duration} is not a duration such as 15m, 2h or 7d`);
  }
  return Number(number) * { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[unit];
}

// messages are live ones, or those in the stream and then live ones.
async function messages(nc) {
  const subject = prefix + options.events;
  if (!options.seq && !options.since) {
    const sub = nc.subscribe(subject);
    await nc.flush();
    return sub;
  }
  const start = options.since
    ? { deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(Date.now() - milliseconds(options.since)).toISOString() }
    : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: Number(options.seq) };
  const consumer = await nc.jetstream().consumers.get(stream, { filterSubjects: [subject], ...start });
  return consumer.consume({ max_messages: 64 }); // at most so many are on their way
}

function print(m) {
  const position = Number(m.headers?.get("Blufio-Seq")) || undefined; // in blufio's own log: the same live and replayed
  const event = { seq: m.seq, position, event: m.subject.slice("blufio.v1.".length), payload: m.json() };
  process.stdout.write(JSON.stringify(event) + "\n");
}

async function main() {
  const { url, seed, inbox } = settings();
  const nc = await connect({
    servers: url,
    name: "listener-js",
    authenticator: nkeyAuthenticator(new TextEncoder().encode(seed)),
    inboxPrefix: inbox,
    maxReconnectAttempts: -1,
  });
  let left = Number(options.count ?? Infinity);
  for await (const m of await messages(nc)) {
    print(m);
    if (--left === 0) {
      break;
    }
  }
  await nc.close();
}

main().catch((err) => {
  console.error(`listener-js: ${err.message}`);
  process.exit(1);
});
