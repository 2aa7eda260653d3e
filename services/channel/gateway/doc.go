// SPDX-License-Identifier: MIT OR Apache-2.0

// Package gateway is the room that speaks HTTP: messages in, replies out,
// sessions, OpenAI's chat completions, events, sockets, health and metrics.
//
//	POST /v1/messages                  hand in a message; ?wait=30s waits for the reply
//	GET  /v1/messages/{id}             what became of it; ?wait= as well
//	DELETE /v1/messages/{id}           stop working on it
//	GET  /v1/sessions                  the caller's sessions by name, among the latest 500; ?limit=
//	GET  /v1/sessions/{id}/messages    a page of one of them; ?after=&limit=
//	POST /v1/chat/completions          OpenAI's wire, whole or streamed
//	GET  /v1/models, /v1/models/{id}   the one model there is
//	GET  /v1/events                    facts as server-sent events; ?after= or ?since=, ?pattern=
//	GET  /v1/ws                        messages, partial text and replies on a WebSocket
//	GET  /health                       200 or 503 from evidence, without a token
//	GET  /metrics                      for Prometheus
//
// # Nothing is lost here because nothing is kept here
//
// A message is answered with 202 after the agent has stored it. The reply is
// stored there too: when the agent delivers it (msg.send.gateway), the gateway
// wakes whoever waits for it and forgets it. A request that waits registers
// first and then asks the agent once, so it misses no reply, whether that
// came in between, the message is a duplicate, or the daemon was restarted. When
// the daemon stops, those who wait are answered with 202 and ask again later.
//
// # Who may
//
// Everything under /v1/ wants "Authorization: Bearer TOKEN", a JWT signed by the
// device key (EdDSA, nothing else) whose id is known here. ctl.token.issue makes
// them, ctl.token.list shows what they permit, ctl.token.revoke ends one. A token's subject
// owns the sessions it opens; its scopes say which routes it opens: chat for
// messages, sessions, completions, models and sockets, status for events, metrics
// for /metrics where that is not open. No scope includes another. An idempotency key counts within its subject.
//
// A token that is not in the table is refused like a forgery, so one that was issued
// after the backup from which a database was restored does not get in. One that
// was revoked after it stays out if the restore replaced a database that knew (see
// [CarryOver]); elsewhere revoke it again, or change the device key, which makes
// every token void. A revoked or void token ends within a second what it has open:
// event streams with a comment, sockets with 1008, completions and waits with a 401
// (a message that was just handed in is stored: 202). An expired one ends event
// streams and sockets only. The table has room for max_tokens
// that are valid, and remembers as many others for a week.
//
// Each token has a rate: so many requests and frames a minute, a minute's worth of
// them at once. Beyond it the answer is 429 with Retry-After, and on a socket an error
// for each frame.
//
// Answers to missing and bad tokens are delayed, twice as long with each failure
// from one remote address (of IPv6, from one /64), and when many addresses fail, as
// if they were one. At most 32 are delayed at once, and the next are told to slow
// down. A valid token is never delayed, so that nobody can
// lock out the owner by failing from the same address. Refusals are counted, and
// told as evt.security.denied: the first of a reason and a token at once, the others
// once a minute.
//
// On a loopback address a web page of another site is the attacker to think of:
// the browser reaches what the page may not. Hence a request must name this
// machine in Host (a rebound DNS name does not), and no page of another origin
// may send one. With TLS the certificate does the former; behind a proxy the
// proxy does both.
//
// # Chat completions
//
// Any client of OpenAI's wire can talk to the agent, as the model "blufio"; no
// model is that one too, another is a 404. The user's messages behind the last of
// anyone else are what the agent answers. X-Blufio-Session, or else "user", names
// a lasting session: the agent remembers what came before there, and the other
// messages of the request have no effect. Without a name the request is a
// conversation of its own, in a session that begins with "completion-" and that
// /v1/sessions leaves out. Then the messages before go along as a transcript, up to
// 48 KiB: instructions first, then the latest. A request has 2048 messages at most,
// and a message as many parts.
//
// The agent has its own model, tools and measure. So temperature, top_p,
// max_tokens and whatever else asks for another manner is accepted and has no
// effect; what asks for another kind of answer is refused, with "param": n above
// 1, tools, functions, a response_format other than text, audio, images, logprobs,
// stop. Usage is an estimate of four bytes a token, of the text handed over and
// the reply; what the turn really cost is in evt.cost.recorded.
//
// A completion's id is "chatcmpl-" and the message's. The agent keeps the message
// whatever becomes of the request: a client that hangs up finds the reply at
// /v1/messages/{id}. Once it is stored, an error says X-Should-Retry: false, or
// the stock clients would send it again. With an Idempotency-Key they may.
//
// In a stream nothing can be taken back. Its content ends with the stored reply,
// byte for byte; when the agent said something and then used tools, that comes
// first, with a blank line behind it. When a turn begins anew after words of it
// were sent, when it fails, or when there is no reply within max_answer, the
// stream ends with an error, without a finish_reason and without [DONE]. A comment
// comes every 15 s.
//
// # Events
//
// Each event has the lane's name as its event, the payload as its data and as its id
// the event log and its position there, "1f3a9c02-57". ?after=ID and ?since=1h begin
// with what is kept, and go on with what happens, without a hole and without doubles;
// without either it begins now. ?after=57 counts in whichever log there is. Who comes
// back with Last-Event-ID goes on behind it. ?pattern= is one of the name below evt:
// "turn.*", "budget.>". What cannot be told is said: event "gap", data
// {"from":…,"to":…,"why":…}, without an id. It comes when positions are no longer
// kept, when the log is another one than the client's (it is told from its beginning
// then; "to" is 0, because nobody knows how much is missing of the one before), and
// as the last event to a client that is too slow (256 events or 256 KiB behind), or
// when the daemon itself could not keep up. This last one has the id of what is before
// it, so that who comes back misses nothing; both positions are 0, without an id, when
// nothing that has one was heard. A comment comes every 15 s. The stream ends with its
// token.
//
// # Sockets
//
// Frames are JSON objects in text messages. A browser's script, which can set no
// header, offers the subprotocols "blufio" and "bearer.TOKEN". The client sends
//
//	{"type":"message","id":"1","session":"main","text":"hello","key":"…"}
//	{"type":"ping","id":"2"}
//
// with an id of its own, and with a key if a repetition is to be the same message.
// Up to 16 messages may be without a reply. The gateway sends
//
//	{"type":"accepted","id":"1","message":"m1","session":"main"}      it is stored
//	{"type":"delta","id":"1","message":"m1","attempt":1,"round":0,"n":0,"text":"he"}
//	{"type":"reply","id":"1","message":"m1","session":"main","state":"answered","text":"hey"}
//	{"type":"error","id":"1","error":{"code":"busy","message":"…","hint":"…"}}
//	{"type":"pong","id":"2"}
//
// Deltas are best effort, as bus.Delta says; only the reply counts. An error with a
// message's id is the last word about it, on this socket. It carries "message" when
// the message is stored. A socket ends with 1001 when the gateway stops, and with
// 1008 when its token ends; what had no reply then is fetched with
// GET /v1/messages/{id}. The subprotocol spoken is "blufio" or none: a browser, which
// insists on one, offers both.
//
// # Bounds
//
// Only HTTP/1.1 is spoken: one connection carries one request at a time, so
// max_connections bounds the requests, and the next clients wait to be accepted.
// Event streams and sockets have a bound of their own. So have bodies and frames,
// each up to max_body_bytes, from when they take memory until they are handed over.
// Up to 4 KiB a body takes no slot while it comes. A larger one may have three in
// four slots, and has to come steadily: each sixteenth of max_body_bytes (16 KiB)
// within a sixteenth of read_timeout (1.9 s), that is 8.5 KiB/s, which is what the
// largest body needs anyway; else it is cut off with 408. Heads are limited to 16 KiB
// and every phase of a request has its time. Waiting requests have their own bound; beyond it messages
// are answered without waiting, and completions are refused before they are handed
// over.
//
// # Inside
//
// [Service] lives as long as the process. Each Run makes a front, one life of the
// listener with its connection to the bus and its drain signal. Handlers are
// methods of front; instead of writing an error they return it, a [bus.Error] from
// the bus or a refusal of their own, and one place makes the status and the JSON
// of it. A request that lasts (a stream, a socket) ends with front.draining.
package gateway
