// SPDX-License-Identifier: MIT OR Apache-2.0

// Package embedded runs the NATS server inside the daemon: who may get on, what
// each may say and hear, and the stream that remembers events.
//
//	device, err := embedded.LoadOrCreateDevice(dataDir)
//	bus, err := embedded.Start(ctx, embedded.Config{Listen: "127.0.0.1:4222", Device: device, Dir: dataDir + "/events"})
//	room, err := bus.ConnectRoom("agent")
//	events, err := bus.OpenEvents(ctx) // later, once the house is ready
//	err = bus.Shutdown(ctx)
//
// # Keys
//
// Everyone answers a challenge with an Ed25519 key, in process too; there is no
// mode without. The device key is a file made on first start and belongs to the
// operator, who connects over loopback TCP. The keys of the rooms, of the
// relay and of the desk are made at each start, never leave the process and are
// refused over TCP. [NewOperator] makes one that is as good as the device key, for as
// long as the process lives, and leaves it where a group of people may read it. A refusal in process takes two seconds to surface, because a
// pipe without a buffer has the client and the server wait for each other.
//
// All others are issued: [Server.AddKey] lets one in, [Server.RemoveKey] shuts it out
// and ends its connections, both at once and without anyone else noticing.
// [Key.Rights] is all that a key may say and hear. The device key can be replaced
// under way, too.
//
// # Accounts
//
// Permissions on subjects alone do not hold: whoever may ask a service chooses
// the subject of its answer, so an observer could have JetStream deliver a
// stored event to a command's subject. An account is a space of subjects of its
// own. What is published in one is not heard in another unless it is exported
// there and imported here:
//
//	HOUSE  rooms, which state no facts, and operators under operatorPermissions
//	WATCH  imports blufio.v1.evt.> from HOUSE; the stream EVENTS
//	EDGE   the desk
//	KEY1…  one for each key that is no operator's
//	LEAF   what crosses to a hub (see Leaf); one user, the hub room
//	SYS    the server's own; nobody has a key for it
//
// A key's account imports what the key may hear from HOUSE, the reading part of
// JetStream's API from WATCH, what the stream pushes to the key's own inbox, and
// the calls that were allowed. So an answer never leaves the account of who asked,
// and nobody there has neighbours. The user's permissions say the same again:
// what they refuse is told, and not only unheard.
//
// # The desk
//
// An account says who may ask, but not what. The desk looks at questions and passes
// them on: a consumer of the stream must deliver to the key's own inbox (JetStream
// would deliver to its own API, where even a purge can be written that way), must
// choose what the key may hear and must go by itself; a channel hands in messages
// under its own name only. The calls of rooms to channels and tools outside pass
// through it the other way. It opens with the first key that is no operator's.
//
// # How an event is both heard and stored
//
// An event is published once, in HOUSE, with a reply subject. The import carries
// it into WATCH with that reply subject unchanged. There JetStream stores it and
// answers to the reply subject, in its own account, where a second connection of
// Events listens. So rooms hear the event as fast as any message, whether the
// stream works or not; observers hear it once; the stream stores it once; and
// its answer cannot be heard in HOUSE, let alone forged from there. Answers
// are matched by reply subject, up to 256 in flight.
//
// Two other ways were weighed. Publishing twice, in HOUSE and in WATCH, brings
// every event to WATCH twice, and the stream has to drop the second. Publishing in
// WATCH only and exporting back to HOUSE would have whoever gets into WATCH state
// facts.
//
// What rooms have heard before and the stream lacks is stored by
// publishing in WATCH alone: Events.Store. An event that is not worth
// storing is published by its room with the header "Nats-Expected-Stream: none",
// which the stream takes as meant for another. A room's own publication without
// it is stored too, unacknowledged.
//
// # What the stream promises
//
// It is a copy and may be thrown away. An acknowledged event is written, but
// synced to disk only every two minutes. After damage to its files it may open
// with messages missing and numbers used again, without an error and with
// the old epoch; what cannot be opened or read at all is deleted and begun anew
// under a new one. A relay therefore resumes from the newest event that is
// really there (Events.Last) and keeps its own copy beyond those two minutes. A
// stream that could not write, as on a full disk, stays dead until OpenEvents is
// called again: call it whenever Events.Err is not nil, with a pause. There must
// be 16 MiB free.
//
// # Bounds
//
// 64 connections, 8 with one key, 1 MiB a message, 4 MiB pending for a client before
// it is cut off, 2 s to write or to log on, 4096 subscriptions a connection (256 with
// an issued key), 64 replays at a time, 16 with one key, EventsMB and EventsDays of
// events. The desk has 16 questions of one key under way. A key that asks faster than
// it is answered is shut out for four minutes, before some 16 thousand answers are
// awaited. A pull from the stream ends after two minutes. An account is used again for
// the next key, so there are as many as there were keys at the same time. The stream
// remembers the ID of each event for ten seconds, at some 300 bytes each. At most one
// refusal a second is logged; all are counted in Stats.
package embedded
