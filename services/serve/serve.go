// SPDX-License-Identifier: MIT OR Apache-2.0

// Package serve builds the house: it is the only place that knows every room.
//
// [Run] goes through it in order: the data directory and its lock, the device
// key, the database, the bus, then the rooms, each ready before the next. The
// order of the rooms is the order of the way back: what takes messages in is
// last to start and first to stop.
package serve

//go:generate go run ./internal/configdoc
//go:generate go run ./internal/metricsdoc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/tool"
	"github.com/blufio/blufio/services/backup"
	"github.com/blufio/blufio/services/channel/gateway"
	"github.com/blufio/blufio/services/channel/telegram"
	"github.com/blufio/blufio/services/channel/terminal"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/control"
	"github.com/blufio/blufio/services/cost"
	"github.com/blufio/blufio/services/doctor"
	"github.com/blufio/blufio/services/governor"
	"github.com/blufio/blufio/services/hooks"
	"github.com/blufio/blufio/services/hub"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/denial"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/logring"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/keys"
	"github.com/blufio/blufio/services/recall"
	"github.com/blufio/blufio/services/relay"
	"github.com/blufio/blufio/services/vault"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// Options is what a daemon is started with.
type Options struct {
	Config  Config
	Sources config.Sources // where Config came from, to see later what has changed
	Loaded  *config.Loaded // the same; nil: nobody will know, and what is set in Config counts more than the vault
	Environ []string       // as os.Environ gives it: what the vault is locked with
	DataDir string
	Version string
	Logger  *slog.Logger
	// Redactor takes secrets out of all that is logged or said; nil: one that knows
	// the configuration's. Run adds what it learns.
	Redactor *config.Redactor
	Ready    func(Info) // called once when everything is up; may be nil
	Now      func() time.Time
	Memory   governor.Deps // what the governor reads and moves, where it is not the machine's
	Program  string        // this program's file, to try backups with; "": none is tried

	// Reload asks, as SIGHUP does, to read the configuration again; may be nil. The call
	// on the bus asks for the same. SetLogLevel takes another log.level; may be nil.
	Reload      <-chan struct{}
	SetLogLevel func(level string)

	hooks      *hooks.Runner // of the owner's programs
	supervisor *supervisor   // who started the daemon

	ring    *logring.Ring              // the last of the log
	opened  func(*embedded.Server)     // for tests: hears of the bus before the rooms do; may be nil
	counted func(*prometheus.Registry) // for tests: has the registry when everything is registered; may be nil
	look    bool                       // at the vault, for doctor: nothing is changed
}

// Info tells where a running daemon is reached. It is written to daemon.json.
type Info struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	Bus     string `json:"bus"`     // nats://…
	Gateway string `json:"gateway"` // http://…

	Config []string `json:"config"` // files that it read at its start; null where an older version does not say
}

// Run is the daemon: it returns when ctx ends and everything is drained (nil),
// or with the reason why it cannot run. See [ExitCode] and [Hint].
func Run(ctx context.Context, o Options) (err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	started := o.Now()
	if os.Getpid() == 1 { // of a container
		var reaping sync.WaitGroup
		defer reaping.Wait()
		ctx, end := context.WithCancel(context.WithoutCancel(ctx)) // longer than the rooms
		defer end()
		reaping.Go(func() { reap(ctx) })
	}
	if err := o.early(); err != nil {
		return err
	}
	device, err := embedded.LoadOrCreateDevice(o.DataDir) // first: it also checks the directory's mode
	if err != nil {
		return err
	}
	o.redact(device)
	lock, err := takeLock(o.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	lock.tell(o.Logger)
	o.hooks, o.supervisor = o.runner(), o.newSupervisor()
	if err := o.preStart(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop meanwhile
		}
		return err
	}
	defer func() { o.ended(ctx, err) }()
	if device, err = embedded.LoadDevice(o.DataDir); err != nil { // it may have been replaced before the lock was ours
		return err
	}
	o.learnDevice(device)
	var store *sqlite.Store
	err = o.supervisor.opening("opening the database", func() (err error) {
		store, err = openStore(ctx, o)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	known, err := keys.Load(ctx, store, o.Now())
	if err != nil {
		return err
	}
	leaf, err := o.leaf()
	if err != nil {
		return err
	}
	door := o.openDoor()
	defer func() { err = errors.Join(err, door.close()) }()
	server, err := embedded.Start(ctx, embedded.Config{
		Leaf: leaf, Operator: door.key,
		Listen: o.Config.Bus.Listen, EventsDays: o.Config.Bus.EventsDays, EventsMB: o.Config.Bus.EventsMB, MaxConns: o.Config.Bus.MaxConns,
		Dir: filepath.Join(o.DataDir, "events"), Device: device, Keys: known, Now: o.Now, Logger: o.Logger.With("service", "bus"),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutdown(ctx, server)) }()
	if o.opened != nil {
		o.opened(server)
	}
	return live(ctx, o, started, store, server, door)
}

// live furnishes the house and lives in it.
func live(ctx context.Context, o Options, started time.Time, store *sqlite.Store, server *embedded.Server, door door) error {
	open := make(chan struct{}) // the event stream opens when everything else is up
	registry := prometheus.NewRegistry()
	rooms, err := furnish(ctx, o, started, store, server, registry, open)
	if err != nil {
		return err
	}
	house, err := services.NewHouse(services.Config{
		Rooms: rooms.inOrder(), Logger: o.Logger, Registry: registry, DrainTimeout: o.Config.Daemon.DrainTimeout, Redactor: o.Redactor,
		Connect: func(name string) (*nats.Conn, error) { return server.ConnectRoom(name) },
	})
	if err != nil {
		return err
	}
	rooms.report, rooms.probes = house.Report, house.Probes
	if err := registerProcess(registry, o.Version, started, store, server, o.ring); err != nil {
		return err
	}
	if o.counted != nil {
		o.counted(registry)
	}
	wait := func() {}
	ctx, done := o.untilHook(ctx)
	err = house.Run(ctx, func() {
		info := Info{PID: os.Getpid(), Version: o.Version, Bus: server.URL(), Gateway: rooms.gateway.URL(), Config: o.files()}
		if err := writeInfo(o.DataDir, info); err != nil {
			o.Logger.Warn("the command line will not find the daemon", "err", err)
		}
		door.tell(o, info)
		close(open)
		wait = o.started(ctx, info.Gateway)
		o.supervisor.ready()
		if o.Ready != nil {
			o.Ready(info)
		}
	})
	done()
	wait()
	return errors.Join(err, removeInfo(o.DataDir))
}

// rooms are all there are.
type rooms struct {
	relay    *relay.Service
	vault    *vault.Service
	hub      *hub.Service
	hooks    *hooks.Service
	governor *governor.Service
	backup   *backup.Service
	cost     *cost.Service
	recall   *recall.Service
	agent    *agent.Service
	terminal *terminal.Service
	telegram *telegram.Service
	gateway  *gateway.Service
	keys     *keys.Service
	control  *control.Service
	doctor   *doctor.Service
	tools    *tool.Set // of the agent
	report   func() services.Report
	probes   func() []services.Probe
}

// inOrder is the start order: what others ask comes before those who ask. The hub
// room comes early so that it ends late, and the others' last events go out.
func (r *rooms) inOrder() []services.Service {
	return []services.Service{r.relay, r.hub, r.hooks, r.vault, r.governor, r.backup, r.keys, r.cost, r.recall, r.agent, r.terminal, r.telegram, r.gateway, r.doctor, r.control}
}

// furnish makes the rooms. Nothing runs yet.
func furnish(ctx context.Context, o Options, started time.Time, store *sqlite.Store, server *embedded.Server,
	registry *prometheus.Registry, open <-chan struct{}) (r *rooms, err error) {
	events := eventlog.New(store)
	events.Redacting(o.Redactor.RedactJSON)
	secrets, cfg, err := o.openVault(ctx, store, events)
	if err != nil {
		return nil, err
	}
	r = &rooms{}
	r.relay = relay.New(events, server, open, o.Logger)
	r.vault = vault.New(secrets, open)
	r.hooks = hooks.New(o.runner(), o.Now)
	r.hub = hub.New(hub.Deps{Server: server, Store: store, Logger: o.Logger, Now: o.Now})
	o.Memory.Store, o.Memory.Events, o.Memory.Logger, o.Memory.Now, o.Memory.Version = store, events, o.Logger, o.Now, o.Version
	if o.Memory.Baseline == nil {
		o.Memory.Baseline = func() (all, anonymous int64) { return r.recall.Baseline() }
	}
	if r.governor, err = governor.New(cfg.Memory, o.Memory); err != nil {
		return nil, err
	}
	if r.backup, err = o.backups(cfg, started, store, events); err != nil {
		return nil, err
	}
	models, err := cfg.models()
	if err != nil {
		return nil, err
	}
	if r.cost, err = cost.New(cfg.Cost, cost.Deps{Store: store, Events: events, Logger: o.Logger, Now: o.Now, Models: models.Names()}); err != nil {
		return nil, err
	}
	if r.recall, err = recall.New(cfg.Recall, recall.Deps{Store: store, Events: events, Logger: o.Logger, UserAgent: "blufio/" + o.Version, Now: o.Now}); err != nil {
		return nil, err
	}
	blobs := blob.New(store, cfg.Telegram.Files(), o.Now)
	r.tools, err = tool.New(cfg.Tools, tool.Deps{Store: store, DataDir: o.DataDir, NoRecall: !cfg.Recall.Enable})
	if err != nil {
		return nil, err
	}
	r.agent, err = agent.New(cfg.Agent, agent.Deps{Store: store, Events: events, Blobs: blobs, Models: models, Heartbeat: cfg.Heartbeat, Extract: cfg.Extract, People: cfg.People, NoRecall: !cfg.Recall.Enable, Tools: r.tools, Logger: o.Logger, Redact: o.Redactor.Redact, Now: o.Now,
		Texts: cfg.Bus.EventsText, Finish: agentFinish(cfg.Daemon.DrainTimeout)})
	if err != nil {
		return nil, err
	}
	r.terminal = terminal.New(o.Now)
	if r.telegram, err = telegram.New(cfg.Telegram, telegram.Deps{Store: store, Events: events, Blobs: blobs, Logger: o.Logger, Now: o.Now}); err != nil {
		return nil, err
	}
	if r.gateway, err = gateway.New(cfg.Gateway, gateway.Deps{Key: server.DeviceKey, Store: store, Events: events, Metrics: registry, Logger: o.Logger, Now: o.Now}); err != nil {
		return nil, err
	}
	r.keys = keys.New(keys.Deps{Store: store, Events: events, Bus: server, DataDir: o.DataDir, Tools: tool.Names(), Logger: o.Logger, Now: o.Now, Replaced: o.learnDevice})
	effects, level := newEffects(), newLeveler(o)
	reload := &reloader{o: o, level: level, rooms: r, names: secrets.Names, cfg: cfg, last: o.Loaded}
	r.control = control.New(control.Deps{Store: store, Events: events, Logger: o.Logger, Now: o.Now,
		Version: o.Version, Node: node(cfg.Daemon.Node), Started: started, Denials: busDenials(server, denial.New("bus", store, events, o.Now)),
		LogLevel: level.ask,
		Beat: func(st bus.Status, works bool) {
			level.tick()
			o.supervisor.beat(st, works)
		}, Stop: func() { o.supervisor.stopping(cfg.Daemon.DrainTimeout) },
		Reload: reload.call(), Hangups: o.Reload, Part: reporter{o, o.ring, reload, secrets.Names}.part,
		Report: func() services.Report { return effects.report(r.report()) }})
	r.doctor = doctor.New(doctor.Deps{Store: store, Schemas: schemas(), Server: server, MaxConns: cfg.Bus.MaxConns, DataDir: o.DataDir, Logger: o.Logger, Now: o.Now,
		Report: func() services.Report { return r.report() }, Probes: func() []services.Probe { return effects.tell(append(r.probes(), o.probes(reload)...)) }})
	return r, nil
}

// busDenials makes told hear what the server refuses. A key is named as people know
// it, if it is known.
func busDenials(server *embedded.Server, told *denial.Teller) *denial.Teller {
	server.OnDenied(func(d embedded.Denial) {
		told.Note(denial.Denial{Reason: d.Reason, Who: server.Who(d), Subject: d.Subject})
	})
	return told
}

// agentFinish is the agent's part of a stop. Rooms end one after another within 7/8
// of the time there is (see [services.House]); before the agent come the gateway,
// Telegram and the control room.
func agentFinish(drain time.Duration) time.Duration {
	return max(drain*7/8-gateway.DrainTimeout-telegram.LastWords-drain/16, 300*time.Millisecond)
}

// schemas are the tables of every room.
func schemas() []sqlite.Schema {
	all := append([]sqlite.Schema{eventlog.Schema, cost.Schema, control.Schema, vault.Schema, keys.Schema, blob.Schema, telegram.Schema, gateway.Schema, hub.Schema, doctor.Schema, governor.Schema, backup.Schema, recall.Schema}, agent.Schemas()...)
	return all
}

func openStore(ctx context.Context, o Options) (*sqlite.Store, error) {
	open := o.Config.databaseOptions()
	open.Path, open.Program, open.Logger = databasePath(o.DataDir), o.Version, o.Logger
	store, err := sqlite.Open(ctx, open)
	if err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx, schemas()...); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

func shutdown(ctx context.Context, server *embedded.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}

func databasePath(dataDir string) string { return filepath.Join(dataDir, "blufio.db") }

func node(name string) string {
	if name != "" {
		return name
	}
	host, err := os.Hostname()
	if err != nil {
		return "blufio"
	}
	return host
}

// LastStatus reads, without a daemon and without writing anything, what the
// last one knew. It is nil when there is no database or nothing was noted.
func LastStatus(ctx context.Context, dataDir string, logger *slog.Logger) (*bus.Status, error) {
	path := databasePath(dataDir)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path, ReadOnly: true, Readers: 1, Logger: logger})
	if err != nil {
		return nil, err
	}
	st, err := control.LastStatus(ctx, store)
	if err != nil {
		err = fmt.Errorf("database %s: %w", path, err)
	}
	return st, errors.Join(err, store.Close())
}
