// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"encoding/json"
	"time"
)

// StatusSchema names the shape of Status; it changes when the shape does.
const StatusSchema = "blufio.status/1"

// Daemon and room states.
const (
	Healthy  = "healthy"
	Degraded = "degraded"
	Stopped  = "stopped"
)

// StatusQuery asks for the whole picture.
type StatusQuery struct{}

// Status is the whole picture. Absent facts are null; readers ignore fields
// they do not know.
type Status struct {
	Schema        string          `json:"schema"`
	State         string          `json:"state"` // healthy, degraded or stopped
	Time          time.Time       `json:"time"`  // when the picture was taken
	Version       string          `json:"version"`
	Node          string          `json:"node"`
	PID           int             `json:"pid"`
	UptimeSeconds int64           `json:"uptime_seconds"`
	Provider      string          `json:"provider"`
	Model         string          `json:"model"`
	Sessions      *SessionCounts  `json:"sessions"`
	Memory        *Memory         `json:"memory"`
	Cost          *CostStatus     `json:"cost"`
	Channels      []Channel       `json:"channels"`
	Queues        *QueueDepths    `json:"queues"`
	Services      []ServiceStatus `json:"services"`
	Backup        BackupStatus    `json:"backup"`
	Recall        *RecallStatus   `json:"recall"`
}

// CostStatus is the money line of Status; a limit is null where there is none.
type CostStatus struct {
	Today        MicroUSD  `json:"today_microusd"`
	Month        MicroUSD  `json:"month_microusd"`
	DailyLimit   *MicroUSD `json:"daily_limit_microusd"`
	MonthlyLimit *MicroUSD `json:"monthly_limit_microusd"`
	Stopped      bool      `json:"stopped"`
}

// Channel is the health of one channel: evidence, not a constant.
type Channel struct {
	Name        string     `json:"name"`
	State       string     `json:"state"` // healthy, degraded or stopped
	LastSuccess *time.Time `json:"last_success"`
	LastError   *string    `json:"last_error"`
	LastErrorAt *time.Time `json:"last_error_at"`
}

// ServiceStatus is one room: whether it runs, how often it was restarted, and
// what it says is wrong.
type ServiceStatus struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Restarts int       `json:"restarts"`
	Problems []Problem `json:"problems"`
}

// Problem is something wrong that an owner can act on.
type Problem struct {
	Code  string `json:"code"`
	Title string `json:"title"`
	Hint  string `json:"hint"`
}

// BackupStatus says when the last backup was made and last proved readable.
type BackupStatus struct {
	LastSuccess  *time.Time `json:"last_success"`
	LastVerified *time.Time `json:"last_verified"`
	LastDrilled  *time.Time `json:"last_drilled"`
	LastFailure  *time.Time `json:"last_failure"` // null also when a later one succeeded
	NextDue      *time.Time `json:"next_due"`     // null without a schedule
	Bytes        int64      `json:"bytes"`        // of the last one
	Seconds      float64    `json:"seconds"`      // that it took
	NotDrilled   string     `json:"not_drilled"`  // why none is restored on trial: "encrypted" or "off"; "" when one is
	Replaced     Replaced   `json:"replaced"`
}

// Health is the short answer behind GET /health, made anew every second.
type Health struct {
	Time   time.Time     `json:"time"`
	State  string        `json:"state"` // healthy or degraded
	Checks []HealthCheck `json:"checks"`
}

// HealthCheck is one piece of evidence.
type HealthCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// EventQuery asks for a page of the event stream. After and Since may not both
// be set; without either the page begins with the oldest event kept.
type EventQuery struct {
	After   int64      `json:"after,omitempty"`   // only events behind this position
	Since   *time.Time `json:"since,omitempty"`   // only events stored at or after this time
	Pattern string     `json:"pattern,omitempty"` // of the lane's name below evt, as "turn.*" or "budget.>"; empty is all
	Limit   int        `json:"limit,omitempty"`   // 1 to 500, default 100
}

// EventPage answers an EventQuery. More says that the page was cut; ask again
// with After set to Last. First is the oldest position kept: positions between
// After and First are gone. A Last below After says that the stream has not
// reached that position, or that it counts in another epoch.
type EventPage struct {
	Events []EventRecord `json:"events"`
	Epoch  string        `json:"epoch"` // of the positions
	First  int64         `json:"first"` // oldest position kept, 0 when there is none
	Last   int64         `json:"last"`  // position up to which this page looked
	More   bool          `json:"more,omitempty"`
}

// EventRecord is one event of the stream.
type EventRecord struct {
	Position int64           `json:"position"`
	Time     time.Time       `json:"time"`    // when it was stored; the payload says when it happened
	Event    string          `json:"event"`   // the lane's name, as "evt.turn.completed"
	Payload  json.RawMessage `json:"payload"` // as EVENTS.md says; null when it is too large to be told
}

// StartedFact: the daemon is ready.
type StartedFact struct {
	Time        time.Time `json:"time"`
	Version     string    `json:"version"`
	Node        string    `json:"node"`
	PID         int       `json:"pid"`
	ReadyMS     int64     `json:"ready_ms"`    // from start to ready
	Interrupted int64     `json:"interrupted"` // turns cut off by crashes, since the database was made
}

// StoppingFact: the daemon was asked to stop.
type StoppingFact struct {
	Time          time.Time `json:"time"`
	UptimeSeconds int64     `json:"uptime_seconds"`
}

// RestartedFact: a room failed and was started again.
type RestartedFact struct {
	Time     time.Time `json:"time"`
	Service  string    `json:"service"`
	Restarts int       `json:"restarts"` // since the daemon started
}

// HealthFact: the daemon's health changed.
type HealthFact struct {
	Time   time.Time     `json:"time"`
	State  string        `json:"state"`
	From   string        `json:"from"`
	Checks []HealthCheck `json:"checks"` // only those that fail
}

// GapFact: events From to To (positions, both included) are not in the stream
// and will not come.
type GapFact struct {
	Time time.Time `json:"time"`
	From int64     `json:"from"`
	To   int64     `json:"to"`
	Why  string    `json:"why"`
}

// GapNotStored is the Why of events that the stream does not hold (any more), whoever
// finds that out.
const GapNotStored = "not in the stream"

// ChannelFact: a channel went down or came up again.
type ChannelFact struct {
	Time        time.Time  `json:"time"`
	Channel     string     `json:"channel"`
	Since       time.Time  `json:"since"`                  // when the trouble began
	LastSuccess *time.Time `json:"last_success,omitempty"` // since the daemon started
	Error       string     `json:"error,omitempty"`        // the last one seen
}

// DeniedFact: someone without the right tried to get in. Count gathers the
// denials of one minute, so that an attack cannot flood the stream.
type DeniedFact struct {
	Time   time.Time `json:"time"`
	Where  string    `json:"where"`  // "bus", "gateway" or "telegram"
	Reason string    `json:"reason"` // "no_key", "bad_key", "permission", "limit", "protocol", "slow" (cut off: it did not keep up); "no_token", "bad_token", "expired_token", "revoked_token", "scope", "rate_limited", …
	// The key's name, also when it was revoked or has expired, or, where it has none, the public key; the id of a token. A "bad_key" only claims to be it. Absent when not known, or when too many are.
	Who     string `json:"who,omitempty"`
	Subject string `json:"subject,omitempty"` // what was denied: the first of those counted
	Count   int64  `json:"count"`
}
