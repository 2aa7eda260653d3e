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
// A replay goes on live when it has caught up. It ends with code 1 and a sentence when
// the key may not hear what is asked for, or may not any more. Instead of --context, give --url,
// --seed FILE and --inbox PREFIX, or BLUFIO_CONTEXT, BLUFIO_URL, … in the environment.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { AckPolicy, connect, DeliverPolicy, ErrorCode, Events, nkeyAuthenticator } from "nats";

const prefix = "blufio.v1.evt."; // of every event's subject
const stream = "EVENTS"; // keeps them

const help = `usage: node listener.mjs --context FILE [--events PATTERN] [--seq N | --since 2h] [--count N]

  --context FILE    what blufio keys issue writes; or all of --url, --seed FILE, --inbox PREFIX
  --events PATTERN  which events, as turn.* or budget.>
  --seq N           replay from this number in the stream
  --since DURATION  replay what was stored this long ago or later: 15m, 2h, 7d
  --count N         end after so many events
`;

// flags reads the command line; what is wrong with it is said without a stack trace.
function flags() {
  const text = { type: "string" };
  try {
    const { values } = parseArgs({
      options: { context: text, url: text, seed: text, inbox: text, events: text, seq: text, since: text, count: text, help: { type: "boolean", short: "h" } },
    });
    if (values.help) {
      process.stdout.write(help);
      process.exit(0);
    }
    return values;
  } catch (err) {
    process.stderr.write(`listener-js: ${err.message}\n\n${help}`);
    process.exit(2);
  }
}

const env = process.env;
const options = { context: env.BLUFIO_CONTEXT, url: env.BLUFIO_URL, seed: env.BLUFIO_SEED, inbox: env.BLUFIO_INBOX, events: ">", ...flags() };

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

// refused is that the key may not hear what was asked for.
function refused(why) {
  return new Error(`this key may not hear evt.${options.events}; ask for fewer with --events: blufio keys show lists what it may (${why})`);
}

// mayReplay makes a consumer and deletes it: an ordered one that is refused would be
// tried again and again without a word.
async function mayReplay(nc, subject, start) {
  try {
    const { consumers } = await nc.jetstreamManager({ checkAPI: false });
    const made = await consumers.add(stream, { filter_subject: subject, ack_policy: AckPolicy.None, inactive_threshold: 5e9, ...start });
    await consumers.delete(stream, made.name);
  } catch (err) {
    throw err.api_error?.code === 403 ? refused(err.message) : new Error(`replay: ${err.message}`);
  }
}

// watch ends the program when nothing will come any more.
async function watch(nc, end) {
  for await (const s of nc.status()) {
    if (s.type === Events.Error && s.data === ErrorCode.PermissionsViolation) {
      end(refused(s.permissionContext?.subject ?? s.data));
    }
  }
}

// gone says why the connection has ended for good.
function gone(err) {
  const out = [ErrorCode.AuthorizationViolation, ErrorCode.AuthenticationExpired].includes(err?.code);
  return new Error(out ? "the bus does not let this key in any more: it was revoked or has expired" : `the connection to the bus has ended: ${err?.message ?? "closed"}`);
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
  await mayReplay(nc, subject, start);
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
  const over = new Promise((_, reject) => {
    watch(nc, reject);
    nc.closed().then((err) => reject(gone(err))); // a client gives up when it is refused twice
  });
  try {
    await Promise.race([listen(nc), over]);
  } catch (err) {
    throw err.code === ErrorCode.PermissionsViolation ? refused(err.message) : err;
  }
  await nc.close();
}

async function listen(nc) {
  let left = Number(options.count ?? Infinity);
  for await (const m of await messages(nc)) {
    print(m);
    if (--left === 0) {
      return;
    }
  }
  await new Promise(() => {}); // the messages end with the connection, which tells why
}

main().catch((err) => {
  console.error(`listener-js: ${err.message}`);
  process.exit(1);
});
