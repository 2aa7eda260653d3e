// SPDX-License-Identifier: MIT OR Apache-2.0

// Package bus is the language that blufio's rooms speak with each other.
//
// Every subject is declared once, in contract.go, as a typed lane:
//
//   - an [Event] is a fact or a notice. Whoever says it does not know who hears it.
//     A durable event is first written to the database in the transaction of its
//     fact and relayed from there; a live event is only published.
//   - a [Call] is a question with an answer and a deadline. Calls are NATS micro
//     endpoints (NATS ADR-32), so `nats micro ls` shows the running house.
//
// A room declares what it says and what it hears in its Door; its [Conn] refuses
// everything else, turns a panic in a handler into a coded [Error], gives every
// call a deadline and bounds the work in flight. The package knows NATS and
// nothing of rooms: what a payload means is written beside its struct.
//
//	acc, err := bus.MessageReceive.Ask(ctx, conn, bus.Message{…})
//	h := bus.MessageReceive.Answer(room.receive)
//	err := bus.Pulse.Publish(conn, bus.Health{…})
//
// EVENTS.md, generated from the contract, is the same in prose.
package bus

//go:generate go run ./internal/docgen
