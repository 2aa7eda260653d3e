// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "time"

// Between channels and the agent.
var (
	MessageReceive = call[Message, Accepted](Spec{Name: "msg.receive",
		From: []string{"gateway", "telegram", "cli", "doctor"}, Heard: []string{"agent"},
		Meaning: "Hand a message to the agent. Accepted means that it is stored and will be answered."})
	MessageGet = call[MessageQuery, MessageRecord](Spec{Name: "msg.get",
		From: []string{"gateway", "cli"}, Heard: []string{"agent"},
		Meaning: "What became of a message, also across restarts."})
	MessageCancel = call[MessageQuery, MessageRecord](Spec{Name: "msg.cancel",
		From: []string{"gateway", "cli"}, Heard: []string{"agent"},
		Meaning: "Stop working on a message: it ends as failed, unless its answer is there already."})
	MessageSend = call[Reply, Receipt](Spec{Name: "msg.send.{channel}", Timeout: 30 * time.Second,
		From: []string{"agent"}, Heard: []string{"gateway", "telegram", "terminal", "doctor"},
		Meaning: "Deliver a reply. A Receipt means that the channel took it over."})
	MessageDelta = live[Delta](Spec{Name: "msg.delta.{channel}",
		From: []string{"agent"}, Heard: []string{"gateway", "telegram", Anyone},
		Meaning: "A piece of an answer while it is being made: best effort, never a substitute for the reply."})
	TerminalReply = live[Reply](Spec{Name: "msg.terminal.reply",
		From: []string{"terminal"}, Heard: []string{"cli"},
		Meaning: "A reply for whoever sits at a terminal of this machine; it is kept whether or not someone does."})
)

// What the agent knows.
var (
	AgentSessions = call[SessionQuery, Sessions](Spec{Name: "agent.sessions",
		From: []string{"gateway", "cli"}, Heard: []string{"agent"},
		Meaning: "The sessions of one owner."})
	AgentHistory = call[HistoryQuery, History](Spec{Name: "agent.history",
		From: []string{"gateway", "cli"}, Heard: []string{"agent"},
		Meaning: "A page of one session's messages."})
	PersonGet = call[PersonQuery, Person](Spec{Name: "agent.person", Timeout: 2 * time.Second,
		From: []string{"cli"}, Heard: []string{"agent"},
		Meaning: "Whose a place is: the person that recall knows, and where else they speak."})
	QueueList = call[QueueQuery, QueuePage](Spec{Name: "ctl.queue.list",
		From: []string{"cli"}, Heard: []string{"agent"},
		Meaning: "A page of what waits, runs or was given up: messages, then replies."})
	QueueRetry = call[QueueAction, QueueOutcome](Spec{Name: "ctl.queue.retry",
		From: []string{"cli"}, Heard: []string{"agent"},
		Meaning: "Take dead letters up again."})
	QueueDrop = call[QueueAction, QueueOutcome](Spec{Name: "ctl.queue.drop",
		From: []string{"cli"}, Heard: []string{"agent"},
		Meaning: "Delete dead letters for good."})
	AgentStatus = call[AgentQuery, AgentSummary](Spec{Name: "agent.status", Timeout: 2 * time.Second,
		From: []string{"control"}, Heard: []string{"agent"},
		Meaning: "How the agent stands: sessions and queues."})
)

// Money.
var (
	CostReserve = call[Reserve, Reserved](Spec{Name: "cost.reserve",
		From: []string{"agent"}, Heard: []string{"cost"},
		Meaning: "Leave to make a model call, within the budgets."})
	CostSettle = call[Settle, Settled](Spec{Name: "cost.settle",
		From: []string{"agent"}, Heard: []string{"cost"},
		Meaning: "Book what a model call used."})
	CostGet = call[CostQuery, CostSummary](Spec{Name: "cost.get", Timeout: 2 * time.Second,
		From: []string{"control", "agent", "cli"}, Heard: []string{"cost"},
		Meaning: "Totals of today and this month against the budgets."})
	SpendingSet = call[SpendingSwitch, CostSummary](Spec{Name: "ctl.spending.set",
		From: []string{"cli"}, Heard: []string{"cost"},
		Meaning: "The kill switch: stop or resume every model call that costs money."})
)

// What is known of people.
var (
	RecallSearch = call[RecallQuery, RecallHits](Spec{Name: "recall.search", Timeout: 5 * time.Second,
		From: []string{"agent", "cli"}, Heard: []string{"recall"},
		Meaning: "What is known that has to do with a text."})
	RecallKeep = call[RecallAdd, RecallAdded](Spec{Name: "recall.add",
		From: []string{"agent", "cli"}, Heard: []string{"recall"},
		Meaning: "Keep a fact. What says the same is merged with it, what was known about the same becomes history."})
	RecallList = call[RecallPageQuery, RecallPage](Spec{Name: "recall.list",
		From: []string{"agent", "cli"}, Heard: []string{"recall"},
		Meaning: "A page of the facts, also for an export."})
	RecallDrop = call[RecallForget, RecallForgotten](Spec{Name: "recall.forget", Timeout: 30 * time.Second,
		From: []string{"agent", "cli"}, Heard: []string{"recall"},
		Meaning: "Forget facts for good: nothing of them is left in the database."})
	RecallImport = call[RecallBatch, RecallImported](Spec{Name: "recall.import", Timeout: 15 * time.Second,
		From: []string{"agent", "cli"}, Heard: []string{"recall"},
		Meaning: "Keep the entries of an export."})
	RecallGet = call[RecallStatusQuery, RecallStatus](Spec{Name: "recall.status", Timeout: 2 * time.Second,
		From: []string{"control", "cli"}, Heard: []string{"recall"},
		Meaning: "How recall stands: the embedder, the facts, and the vectors that are still to be made."})
	FactAdded      = durable[RecallAddedFact](fact("evt.recall.added", "recall", "A fact about somebody was kept, or said once more."))
	FactSuperseded = durable[RecallSupersededFact](fact("evt.recall.superseded", "recall", "A fact replaced what was known about the same; that is kept as history."))
	FactForgotten  = durable[RecallForgottenFact](fact("evt.recall.forgotten", "recall", "Facts were forgotten for good, at somebody's word."))
	FactEvicted    = durable[RecallEvictedFact](fact("evt.recall.evicted", "recall", "Facts of the least value were given up: there were more than recall.max_entries."))
)

// The house.
var (
	MemoryRead = call[MemoryQuery, Memory](Spec{Name: "gov.read", Timeout: 2 * time.Second,
		From: []string{"control", "agent", "backup"}, Heard: []string{"governor"},
		Meaning: "The process's memory and its pressure level."})
	StatusGet = call[StatusQuery, Status](Spec{Name: "ctl.status",
		From: []string{"cli", "agent", "hub"}, Heard: []string{"control"},
		Meaning: "The whole picture, as `blufio status` shows it."})
	EventsRead = call[EventQuery, EventPage](Spec{Name: "ctl.events.read",
		From: []string{"cli", "gateway", "hub"}, Heard: []string{"relay"},
		Meaning: "A page of the event stream, for replay."})
	Pulse = live[Health](Spec{Name: "house.pulse",
		From: []string{"control"}, Heard: []string{"gateway"},
		Meaning: "The daemon's health, once a second."})
)

// Memory under pressure.
var (
	MemoryShed = call[Shed, Freed](Spec{Name: "gov.shed.{room}", Timeout: 2 * time.Second,
		From: []string{"governor"}, Heard: []string{"agent", "gateway", "recall"},
		Meaning: "Give up memory that can be had again."})
	MemoryLevel = live[Level](Spec{Name: "gov.level",
		From: []string{"governor"}, Heard: []string{"agent"},
		Meaning: "The memory pressure level, for those who act on it: at critical no new session is begun."})
)

// Many daemons on one hub.
var (
	NodeAsk = call[NodeQuestion, NodeAnswer](Spec{Name: "ctl.node.ask",
		From: []string{"cli"}, Heard: []string{"hub"},
		Meaning: "Put a call to another daemon on the hub."})
	NodeList = call[NodesQuery, Nodes](Spec{Name: "ctl.node.list",
		From: []string{"cli"}, Heard: []string{"hub"},
		Meaning: "Who is on the hub, one line each."})
)

// Secrets.
var (
	VaultSet = call[SecretValue, SecretOutcome](Spec{Name: "ctl.vault.set",
		From: []string{"cli"}, Heard: []string{"vault"},
		Meaning: "Keep a secret, or replace it. It counts from then on."})
	VaultList = call[SecretQuery, SecretList](Spec{Name: "ctl.vault.list",
		From: []string{"cli"}, Heard: []string{"vault"},
		Meaning: "The names and ages of the secrets, and how the vault stands."})
	VaultDelete = call[SecretName, SecretOutcome](Spec{Name: "ctl.vault.delete",
		From: []string{"cli"}, Heard: []string{"vault"},
		Meaning: "Delete a secret for good."})
	VaultRotate = call[VaultRotation, VaultRotated](Spec{Name: "ctl.vault.rotate", Timeout: 30 * time.Second,
		From: []string{"cli"}, Heard: []string{"vault"},
		Meaning: "Encrypt every secret anew under a new key."})
	SecretChanged = durable[SecretFact](Spec{Name: "evt.secret.changed", From: []string{"vault"}, Heard: []string{"telegram", Anyone},
		Meaning: "A secret was set or deleted, or all were encrypted anew; the value is not told."})
)

// Tokens of the gateway.
var (
	TokenIssue = call[TokenRequest, Token](Spec{Name: "ctl.token.issue",
		From: []string{"cli"}, Heard: []string{"gateway"},
		Meaning: "A gateway token, signed by the device key."})
	TokenList = call[TokenQuery, TokenPage](Spec{Name: "ctl.token.list",
		From: []string{"cli"}, Heard: []string{"gateway"},
		Meaning: "A page of the gateway tokens that were issued; never the tokens themselves."})
	TokenRevoke = call[TokenChoice, TokenRecord](Spec{Name: "ctl.token.revoke",
		From: []string{"cli"}, Heard: []string{"gateway"},
		Meaning: "Refuse a gateway token from now on, and end what it has open."})
	TokenIssued  = durable[TokenFact](fact("evt.token.issued", "gateway", "A gateway token was issued."))
	TokenRevoked = durable[TokenFact](fact("evt.token.revoked", "gateway", "A gateway token was revoked."))
)

// Doctor, and other long work.
var (
	DoctorRun = call[DoctorRequest, Job](Spec{Name: "ctl.doctor",
		From: []string{"cli", "hub"}, Heard: []string{"doctor"},
		Meaning: "Make the checks that the daemon makes of itself. The findings are the job's news."})
	JobGet = call[JobQuery, JobState](Spec{Name: "ctl.job",
		From: []string{"cli", "doctor", "hub"}, Heard: []string{"doctor"},
		Meaning: "What is new of a job. Finished ones are kept for five minutes."})
)

// Facts: anyone permitted may listen.
var (
	MessageReceived  = durable[MessageReceivedFact](fact("evt.message.received", "agent", "A message was stored."))
	MessageDied      = durable[DeadFact](alert("evt.message.died", "agent", "A message was given up after repeated crashes and is kept as a dead letter."))
	MessageRetried   = durable[DeadFact](fact("evt.message.retried", "agent", "A dead letter was taken up again: its message waits for an answer as if it had just come."))
	MessageDropped   = durable[DeadFact](fact("evt.message.dropped", "agent", "A dead letter was deleted for good, at the operator's word."))
	TurnCompleted    = durable[TurnFact](fact("evt.turn.completed", "agent", "A turn ended with an answer."))
	TurnFailed       = durable[TurnFact](fact("evt.turn.failed", "agent", "A turn ended without an answer; the person was told why."))
	TurnInterrupted  = durable[TurnInterruptedFact](fact("evt.turn.interrupted", "agent", "A crash cut a turn off; it starts again."))
	ToolCalled       = durable[ToolFact](fact("evt.tool.called", "agent", "The agent used a tool."))
	ContextCompacted = durable[CompactedFact](fact("evt.context.compacted", "agent", "A summary was made of the older part of a conversation: models read it instead. The messages stay."))
	ProviderDown     = durable[ProviderDownFact](alert("evt.provider.down", "agent", "A model's provider failed several times in a row: it is not asked for a while. Said again when the next try fails; a restart of the daemon forgets it without a word."))
	ProviderUp       = durable[ProviderUpFact](fact("evt.provider.up", "agent", "A model's provider that was down answers again."))
	ReplyDelivered   = durable[ReplyFact](fact("evt.reply.delivered", "agent", "A channel took a reply over."))
	ReplyDied        = durable[ReplyFact](alert("evt.reply.died", "agent", "A reply could not be delivered and is kept as a dead letter."))
	ReplyRetried     = durable[ReplyFact](fact("evt.reply.retried", "agent", "A reply that had been given up is delivered anew."))
	ReplyDropped     = durable[ReplyFact](fact("evt.reply.dropped", "agent", "A reply that had been given up was deleted for good: at the operator's word, or because its message is answered anew."))
	CostRecorded     = durable[CostFact](fact("evt.cost.recorded", "cost", "A model call was booked."))
	BudgetWarned     = durable[BudgetFact](alert("evt.budget.warned", "cost", "80 % of a budget is spent; said once a period."))
	BudgetExhausted  = durable[BudgetFact](alert("evt.budget.exhausted", "cost", "A budget is spent: model calls are refused until the period ends; said once a period."))
	SpendingChanged  = durable[SpendingFact](fact("evt.spending.changed", "cost", "The kill switch was turned."))
	MemoryPressure   = durable[MemoryFact](alert("evt.memory.pressure", "governor", "The memory pressure level changed."))
	DaemonStarted    = durable[StartedFact](fact("evt.daemon.started", "control", "The daemon is ready."))
	DaemonStopping   = durable[StoppingFact](fact("evt.daemon.stopping", "control", "The daemon was asked to stop."))
	HealthChanged    = durable[HealthFact](alert("evt.health.changed", "control", "The daemon's health changed."))
	RoomRestarted    = durable[RestartedFact](alert("evt.room.restarted", "control", "A room failed and was started again."))
	StreamGap        = durable[GapFact](fact("evt.stream.gap", "relay", "Events are missing from the stream for good."))
	ChannelDown      = durable[ChannelFact](alert("evt.channel.down", "telegram", "A channel has not reached its other side for a minute; it keeps trying."))
	ChannelUp        = durable[ChannelFact](Spec{Name: "evt.channel.up", From: []string{"telegram"}, Heard: []string{"agent", Anyone},
		Meaning: "A channel that was down works again."})
	AccessDenied = durable[DeniedFact](Spec{Name: "evt.security.denied", From: []string{"control", "gateway", "telegram"}, Heard: []string{Anyone},
		Meaning: "Someone tried what it may not, or was cut off at a bound."})
)

// Keys of the bus.
var (
	KeyIssue = call[KeyRequest, Key](Spec{Name: "ctl.keys.issue",
		From: []string{"cli"}, Heard: []string{"keys"},
		Meaning: "Let a key in. Its seed stays with whoever made it."})
	KeyList = call[KeyQuery, Keys](Spec{Name: "ctl.keys.list",
		From: []string{"cli", "agent"}, Heard: []string{"keys"},
		Meaning: "The keys, and what each may say and hear."})
	KeyRevoke = call[KeyRevocation, Key](Spec{Name: "ctl.keys.revoke",
		From: []string{"cli"}, Heard: []string{"keys"},
		Meaning: "Shut a key out and end its connections."})
	KeyRotateDevice = call[DeviceRotation, DeviceRotated](Spec{Name: "ctl.keys.rotate",
		From: []string{"cli"}, Heard: []string{"keys"},
		Meaning: "Make a new device key; the old one is shut out once the answer is sent."})
	KeyIssued  = durable[KeyFact](fact("evt.key.issued", "keys", "A bus key was issued."))
	KeyGone    = durable[KeyFact](fact("evt.key.revoked", "keys", "A bus key was revoked, and its connections ended."))
	KeyExpired = durable[KeyFact](fact("evt.key.expired", "keys", "A bus key reached its end, and its connections ended."))
)

// The configuration.
var (
	ConfigReload = call[ReloadRequest, Reloaded](Spec{Name: "ctl.config.reload", Timeout: 15 * time.Second,
		From: []string{"cli"}, Heard: []string{"control"},
		Meaning: "Read the configuration again and go on with what of it can change; what is not valid changes nothing."})
	ConfigReloaded = durable[ReloadedFact](fact("evt.config.reloaded", "control", "The configuration was read again, and is another one."))
	ConfigRefused  = durable[RefusedFact](fact("evt.config.refused", "control", "The configuration was read again and is not valid: nothing has changed."))
)

// Backups.
var (
	BackupCreate = call[BackupRequest, BackupBegun](Spec{Name: "ctl.backup.create", Timeout: 10 * time.Second,
		From: []string{"cli"}, Heard: []string{"backup"},
		Meaning: "Make a backup for whoever asks: one at a time, others are told busy."})
	BackupTake = call[BackupRead, BackupChunk](Spec{Name: "ctl.backup.read",
		From: []string{"cli"}, Heard: []string{"backup"},
		Meaning: "The next piece of a backup that was asked for, or how far it has come."})
	BackupFinish = call[BackupEnd, BackupEnded](Spec{Name: "ctl.backup.finish",
		From: []string{"cli"}, Heard: []string{"backup"},
		Meaning: "Say that the backup lies where it should, or that it is not wanted any more."})
	BackupGet = call[BackupQuery, BackupSummary](Spec{Name: "ctl.backup.get", Timeout: 2 * time.Second,
		From: []string{"cli", "control"}, Heard: []string{"backup"},
		Meaning: "How the backups stand: the last ones, the next one, and the files."})
	BackupStarted   = durable[BackupStartedFact](fact("evt.backup.started", "backup", "A backup was begun."))
	BackupProgress  = durable[BackupStep](fact("evt.backup.progressed", "backup", "A backup came to its next stage, or a good deal further in it."))
	BackupCompleted = durable[BackupFact](fact("evt.backup.completed", "backup", "A backup was made and lies where it should."))
	BackupFailed    = durable[BackupFailedFact](alert("evt.backup.failed", "backup", "A backup was not made, or what was to be done with it failed."))
	BackupVerified  = durable[BackupProofFact](fact("evt.backup.verified", "backup", "Every byte of a backup was read again, and it is good."))
	BackupDrilled   = durable[BackupProofFact](fact("evt.backup.drilled", "backup", "A second daemon was started on a backup, and works."))
)

// Reports of what went wrong.
var (
	ReportGet = call[ReportQuery, ReportPart](Spec{Name: "ctl.report",
		From: []string{"cli"}, Heard: []string{"control"},
		Meaning: "One part of what `blufio bugreport` packs: the configuration, the last of the log, or a profile; without secrets."})
)

// The log.
var (
	LogSet = call[LogSetting, LogLevel](Spec{Name: "ctl.log",
		From: []string{"cli"}, Heard: []string{"control"},
		Meaning: "The level of the log, or another one for a while."})
)

// fact fills in what all facts share.
func fact(name, from, meaning string) Spec {
	return Spec{Name: name, From: []string{from}, Heard: []string{Anyone}, Meaning: meaning}
}

// alert is a fact that an owner wants to be told of: the hook for alerts runs on it.
func alert(name, from, meaning string) Spec {
	return Spec{Name: name, From: []string{from}, Heard: []string{"hooks", Anyone}, Meaning: meaning}
}

// Anyone stands for every listener with a key that permits it.
const Anyone = "anyone"

// Facts is the pattern that every fact's subject matches.
const Facts = Prefix + "evt.>"

// Contract lists every lane.
func Contract() []Lane {
	return []Lane{
		MessageReceive, MessageGet, MessageCancel, MessageSend, MessageDelta, TerminalReply,
		AgentSessions, AgentHistory, PersonGet, QueueList, QueueRetry, QueueDrop, AgentStatus,
		CostReserve, CostSettle, CostGet, SpendingSet,
		RecallSearch, RecallKeep, RecallList, RecallDrop, RecallImport, RecallGet, FactAdded, FactSuperseded, FactForgotten, FactEvicted,
		MemoryRead, StatusGet, EventsRead, Pulse, MemoryShed, MemoryLevel,
		TokenIssue, TokenList, TokenRevoke, TokenIssued, TokenRevoked, NodeAsk, NodeList,
		DoctorRun, JobGet,
		MessageReceived, MessageDied, MessageRetried, MessageDropped, TurnCompleted, TurnFailed, TurnInterrupted, ToolCalled, ContextCompacted,
		ProviderDown, ProviderUp, ReplyDelivered, ReplyDied, ReplyRetried, ReplyDropped,
		CostRecorded, BudgetWarned, BudgetExhausted, SpendingChanged,
		MemoryPressure, DaemonStarted, DaemonStopping, HealthChanged, RoomRestarted, StreamGap,
		ChannelDown, ChannelUp, AccessDenied,
		VaultSet, VaultList, VaultDelete, VaultRotate, SecretChanged,
		BackupCreate, BackupTake, BackupFinish, BackupGet,
		BackupStarted, BackupProgress, BackupCompleted, BackupFailed, BackupVerified, BackupDrilled,
		ReportGet, LogSet, ConfigReload, ConfigReloaded, ConfigRefused,
		KeyIssue, KeyList, KeyRevoke, KeyRotateDevice, KeyIssued, KeyGone, KeyExpired,
	}
}
