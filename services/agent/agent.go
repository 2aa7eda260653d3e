// SPDX-License-Identifier: MIT OR Apache-2.0

// Package agent is the room that thinks: it takes messages in, answers each in a
// turn, and sees that the reply is delivered.
//
// The way of one message, file by file:
//
//	inbox.go    msg.receive commits it to the inbox and answers Accepted
//	queue.go    its session waits for a turn: one at a time within a session,
//	            many sessions at once
//	turn.go     the turn asks the model (reserve, complete, settle), lets it use
//	            tools, and commits the reply together with the outbox entry, the
//	            settlement to be delivered and the events
//	history.go  what of the conversation the model reads; compact.go has the older
//	            part summarised, recalled.go asks what is known of the person
//	route.go    which models a question is for, in what order
//	model.go    asks them until one answers; breaker.go leaves out those that
//	            do not answer
//	deliver.go  msg.send.{channel} delivers the reply until there is a receipt;
//	            outbox.go knows which sessions have one waiting
//	settle.go   cost.settle books what the model used, until it is booked
//	recall.go   recall.add keeps facts that the turn wanted kept, until it is done;
//	            person.go knows whose they are
//	extract.go  looks back at idle conversations for such facts
//	pressure.go while memory is short no session is begun, and spare memory is given up
//	deadletter.go, letters.go   the operator looks at what waits and was given up,
//	            and takes it up again or deletes it
//
// A session is idle, waiting or running. A message is queued, running, then
// answered, failed or dead; the states are stored, so a crash loses nothing: at
// the start running ones are queued again and counted as interrupted, and one
// that was begun [maxAttempts] times without an end is a dead letter (suspect.go).
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/tool"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Service is the room.
type Service struct {
	cfg      Config
	store    *sqlite.Store
	events   *eventlog.Log
	models   Models
	breakers map[string]*breaker // by provider, of those that are configured
	spent    spent
	meter    llm.Meter // of tokens

	summaries     summaries
	compactor     *compactor
	recall        *breaker // of the room that knows about people
	heartbeat     Heartbeat
	extract       Extract
	people        People
	named         map[string]string // who of people has a place
	blobs         *blob.Store       // files that came with messages; nil: none come
	pictureStock  stock             // see holding
	materialStock stock
	entering      chan struct{} // taken by the turn that collects its slots
	tools         map[string]tool.Tool
	specs         []llm.ToolSpec // in a fixed order: the prompt's prefix must not change
	manner        atomic.Pointer[manner]
	redact        func(string) string
	log           *slog.Logger
	now           func() time.Time
	finish        time.Duration // for what is under way when Run is asked to end
	pauses        pauses
	pressure      pressure
	turnEnded     chan struct{} // one has: see awaitMemory
	unreadable    int64         // the last settlement that was told of; of the loop that settles
	toolSet       *tool.Set
	desk          *desk // to the recall room

	queue      *queue
	thinking   *thinking
	suspects   suspects
	outbox     map[string]*outbox // by channel, so that one that hangs does not hold up the others
	settle     chan struct{}      // wakes the settler
	turning    sync.WaitGroup     // turns under way
	delivering sync.WaitGroup     // deliveries under way
	underway   atomic.Int64       // of those, how many
	metrics    *metrics

	mu   sync.Mutex
	conn *bus.Conn
}

var _ services.Service = (*Service)(nil)

// Deps is what the room works with.
type Deps struct {
	Store     *sqlite.Store
	Events    *eventlog.Log
	Blobs     *blob.Store // files that come with messages, in the same store; nil: none come
	Models    Models
	Heartbeat Heartbeat
	Extract   Extract
	People    People
	NoRecall  bool // the recall room is switched off: what waits for it stays
	Tools     *tool.Set
	Logger    *slog.Logger
	Redact    func(string) string // takes the daemon's secrets out of text; nil: nothing is redacted
	Now       func() time.Time
	Texts     bool          // events carry message text
	Finish    time.Duration // at the end, for turns and deliveries under way; default 6 s
}

// New returns the room.
func New(cfg Config, d Deps) (*Service, error) {
	manner, err := cfg.manner(d.Texts)
	if err != nil {
		return nil, err
	}
	if len(d.Models.List) == 0 {
		return nil, errors.New("agent: no model is given")
	}
	if d.Redact == nil {
		d.Redact = func(text string) string { return text }
	}
	s := &Service{cfg: cfg, store: d.Store, events: d.Events, blobs: d.Blobs, pictureStock: newStock(cfg.PicturesMB), materialStock: newStock(cfg.MaterialMB), entering: make(chan struct{}, 1),
		models: d.Models.named(), heartbeat: d.Heartbeat, extract: d.Extract, people: d.People, named: d.People.byPlace(),
		redact: d.Redact, log: d.Logger, now: d.Now, finish: cmp.Or(d.Finish, 6*time.Second),
		pauses: defaultPauses(), pressure: pressure{now: d.Now, changed: make(chan struct{}, 1)}, turnEnded: make(chan struct{}, 1), toolSet: d.Tools, tools: map[string]tool.Tool{},
		queue: newQueue(cfg.MaxQueue, cfg.MaxSessions), thinking: newThinking(), outbox: map[string]*outbox{}, settle: make(chan struct{}, 1)}
	s.desk = newDesk(s, d.NoRecall)
	s.manner.Store(manner)
	for _, t := range d.Tools.All() {
		s.tools[t.Spec().Name] = t
		s.specs = append(s.specs, t.Spec())
	}
	for _, c := range bus.MessageSend.Spec().Heard {
		s.outbox[c] = newOutbox()
	}
	s.outbox[outside] = newOutbox()
	s.breakers = map[string]*breaker{}
	for _, m := range s.models.all() {
		s.breakers[m.Provider.Name()] = &breaker{limit: cfg.BreakerFailures, pause: cfg.BreakerPause, now: d.Now}
	}
	s.summaries.most, s.compactor = SummaryBytes, newCompactor()
	s.recall = &breaker{limit: recallSilent, pause: recallPause, now: d.Now}
	s.metrics = newMetrics(s)
	s.metrics.gauges = append(s.metrics.gauges, d.Tools.Metrics()...)
	return s, nil
}

// Door declares the room.
func (s *Service) Door() services.Door {
	return services.Door{
		Name: "agent",
		Hears: []bus.Handler{
			bus.MessageReceive.Answer(s.receive).Workers(64).Queue(1024),
			bus.MessageGet.Answer(s.get).Workers(4),
			bus.MessageCancel.Answer(s.cancel).Workers(2),
			bus.AgentSessions.Answer(s.sessions).Workers(2),
			bus.AgentHistory.Answer(s.history).Workers(2),
			bus.PersonGet.Answer(s.who).Workers(1),
			bus.QueueList.Answer(s.letters).Workers(1),
			bus.QueueRetry.Answer(s.retry).Workers(1),
			bus.QueueDrop.Answer(s.drop).Workers(1),
			bus.AgentStatus.Answer(s.summary).Workers(1),
			bus.MemoryShed.To("agent").Answer(s.shed).Workers(1),
			bus.MemoryLevel.On(func(_ context.Context, l bus.Level) { s.pressure.hear(l.Pressure) }),
			bus.ChannelUp.On(s.channelUp),
		},
		Says: []bus.Lane{bus.MessageSend, bus.MessageDelta, bus.CostReserve, bus.CostSettle, bus.CostGet, bus.StatusGet, bus.MemoryRead, bus.KeyList,
			bus.MessageReceived, bus.MessageDied, bus.MessageRetried, bus.MessageDropped, bus.TurnCompleted, bus.TurnFailed, bus.TurnInterrupted,
			bus.ToolCalled, bus.ContextCompacted, bus.ProviderDown, bus.ProviderUp, bus.ReplyDelivered, bus.ReplyDied, bus.ReplyRetried, bus.ReplyDropped,
			bus.RecallSearch, bus.RecallKeep, bus.RecallDrop, bus.RecallList, bus.RecallImport},
		Metrics:  s.metrics.all(),
		Failures: s.metrics.failures(),
		Health:   s.health,
		Probes:   Probes(s),
	}
}

// Run takes up what an earlier run left and works until ctx ends. Turns and
// deliveries under way then have the time [New] was given to finish; what is not
// finished stays in the inbox.
func (s *Service) Run(ctx context.Context, c *bus.Conn, ready func()) error {
	s.setConn(c)
	if err := s.recoverInbox(ctx); err != nil {
		return fmt.Errorf("take up the inbox: %w", err)
	}
	if err := s.loadOutbox(ctx); err != nil {
		return fmt.Errorf("take up the outbox: %w", err)
	}
	if _, err := s.summary(ctx, bus.AgentQuery{}); err != nil { // also the gauges of dead letters
		return err
	}
	if err := s.desk.count(ctx); err != nil {
		return err
	}
	s.recallRatios(ctx)
	s.askPressure(ctx)
	ready()
	// What is under way outlives ctx: turns for most of the time there is, deliveries
	// for all of it, so that the last turns' replies still leave.
	late := context.WithoutCancel(ctx)
	turning, cutTurns := context.WithCancel(late)
	defer cutTurns()
	finishing, cut := context.WithCancel(late)
	defer cut()
	delivering, endDeliveries := context.WithCancel(finishing)
	defer endDeliveries()
	ctx, end := context.WithCancel(ctx)
	defer end()

	delivered := make(chan error, 1)
	go func() {
		delivered <- services.Work(delivering, s.deliveryLoops(finishing)...)
		end() // earlier than asked for only after a failure
	}()
	err := services.Work(ctx, s.runSettlements, s.runRetention, s.runHeartbeat, s.desk.run, s.runExtract, s.runCompactions, func(ctx context.Context) error { return s.runTurns(ctx, turning) })
	defer time.AfterFunc(s.finish*4/5, cutTurns).Stop()
	defer time.AfterFunc(s.finish, cut).Stop()
	s.turning.Wait()
	endDeliveries()
	err = errors.Join(err, <-delivered)
	s.delivering.Wait()
	s.deliverRest(finishing)
	return errors.Join(err, s.keepRatios(late))
}

func (s *Service) deliveryLoops(finishing context.Context) (loops []func(context.Context) error) {
	for _, o := range s.outbox {
		loops = append(loops, func(ctx context.Context) error { return s.runDeliveries(ctx, finishing, o) })
	}
	return loops
}

// pauses before something is tried again.
type pauses struct {
	turn         time.Duration // after a turn that crashed
	store        time.Duration // after a commit that failed: the answer is there, the disk is not
	check        time.Duration // how often replies held back are looked at
	delivery     time.Duration // after the first failed delivery; doubles each time
	deliveryMost time.Duration
	absent       time.Duration // while no room answers for a channel; doubles each time
	absentMost   time.Duration
	settle       time.Duration // after the ledger did not book a call
	recall       time.Duration // after the recall room did not take a fact
	heartbeat    time.Duration // how often it is looked whether it is time for a heartbeat
	extract      time.Duration // how often it is looked whether a conversation is idle
	known        time.Duration // the longest that a turn waits for what is known of its person
}

func defaultPauses() pauses {
	return pauses{turn: time.Second, store: 2 * time.Second, check: 50 * time.Millisecond,
		absent: 50 * time.Millisecond, absentMost: 10 * time.Second,
		delivery: time.Second, deliveryMost: 5 * time.Minute, settle: 10 * time.Second, recall: 10 * time.Second, heartbeat: time.Minute, extract: time.Minute, known: recallTimeout}
}

// spawn runs fn on a goroutine that Run waits for. What is meant to fail has its
// own containment; this one is the last, for a defect must not end the process.
func (s *Service) spawn(group *sync.WaitGroup, fn func()) {
	group.Go(func() {
		if err := services.Contain(func() error { fn(); return nil }); err != nil {
			s.log.Error("goroutine crashed", "service", "agent", "err", err)
		}
	})
}

func (s *Service) setConn(c *bus.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = c
}

func (s *Service) bus() *bus.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// wake sends to a channel of capacity one unless something waits there already.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
