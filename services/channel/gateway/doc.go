// SPDX-License-Identifier: MIT OR Apache-2.0

// Package gateway is the room that speaks HTTP: messages in, replies out,
// sessions, health and metrics.
//
//	POST /v1/messages                  hand in a message; ?wait=30s waits for the reply
//	GET  /v1/messages/{id}             what became of it; ?wait= as well
//	GET  /v1/sessions                  the caller's sessions; ?limit=
//	GET  /v1/sessions/{id}/messages    a page of one of them; ?after=&limit=
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
// device key (EdDSA, nothing else). ctl.token.issue makes them. A token's subject
// owns the sessions it opens; its scopes say which routes it opens: chat for
// messages and sessions, metrics for /metrics where that is not open. No scope
// includes another. An idempotency key counts within its subject.
//
// Answers to missing and bad tokens are delayed, twice as long with each failure
// from one remote address. A valid token is never delayed, so that nobody can
// lock out the owner by failing from the same address. Refusals are counted, and
// told as evt.security.denied: the first of a reason at once, the others once a
// minute.
//
// On a loopback address a web page of another site is the attacker to think of:
// the browser reaches what the page may not. Hence a request must name this
// machine in Host (a rebound DNS name does not), and no page of another origin
// may send one. With TLS the certificate does the former; behind a proxy the
// proxy does both.
//
// # Bounds
//
// Only HTTP/1.1 is spoken: one connection carries one request at a time, so
// max_connections bounds the requests, and the next clients wait to be accepted.
// Few bodies are read at once, each up to max_body_bytes; heads are limited to
// 16 KiB and every phase of a request has its time. Waiting requests have their
// own bound; beyond it they are answered without waiting.
//
// # Inside
//
// [Service] lives as long as the process. Each Run makes a front, one life of the
// listener with its connection to the bus and its drain signal. Handlers are
// methods of front; instead of writing an error they return it, a [bus.Error] from
// the bus or a refusal of their own, and one place makes the status and the JSON
// of it. A request that lasts (a stream, a socket) ends with front.draining.
package gateway
