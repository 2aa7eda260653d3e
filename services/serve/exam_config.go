// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/config"
)

// elsewhere reports whether another check speaks of what is wrong with a file that the
// configuration names.
type elsewhere func(now *config.Loaded, p config.Problem) bool

// configProbes look at the configuration as whoever makes them reads it: the daemon
// has an environment of its own.
func configProbes(src config.Sources, dataDir string, vaulted func() ([]string, error), told elsewhere) []services.Probe {
	return []services.Probe{{
		ID: "BLF-CFG-001", Title: "The configuration is valid", Place: services.Either,
		Why: "the daemon does not start on one that it does not understand",
		Fix: "mend it, and see `blufio config validate`",
		Run: func(context.Context) services.Result { return validity(src, dataDir, vaulted, told) },
	}, {
		ID: "BLF-CFG-003", Title: "Files with secrets in them are private", Place: services.Either,
		Why: "who reads a key can spend your money",
		Fix: "let nobody but the daemon's user read it",
		Run: func(context.Context) services.Result { return secrecy(src) },
	}, {
		ID: "BLF-CFG-004", Title: "No secret stands in a file in clear", Place: services.Either,
		Why: "files are copied, shown and kept in backups; the vault is encrypted",
		Fix: "`blufio config set-secret`, then delete the line",
		Run: func(context.Context) services.Result { return clarity(src, vaulted) },
	}}
}

const shownProblems = 3

// validity judges as the daemon's next start would: models need keys, which may be in
// the vault.
func validity(src config.Sources, dataDir string, vaulted func() ([]string, error), told elsewhere) services.Result {
	cfg, loaded, err := Load(src)
	names, unknown := vaulted()
	missing := config.Problems(nil)
	if err == nil {
		missing = MissingKeys(cfg, loaded, names)
	}
	var useless config.Problems
	if err == nil {
		useless = slices.DeleteFunc(loaded.CheckFiles(), func(p config.Problem) bool { return told(loaded, p) })
		useless = append(useless, NotApart(cfg, loaded, dataDir)...)
	}
	switch {
	case len(useless) > 0:
		err = useless
	case len(missing) > 0 && unknown == nil:
		err = missing
	}
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		p := problems[0]
		seen := p.Origin.String() + ": " + p.Message
		for _, more := range problems[1:min(len(problems), shownProblems)] {
			seen += "; " + more.Origin.String() + ": " + more.Message
		}
		if n := len(problems) - shownProblems; n > 0 {
			seen += fmt.Sprintf("; and %d more", n)
		}
		if len(problems) > 1 { // one hint is none for the others
			return services.Fail("%s", seen).WithFix("mend each; `blufio config validate` says what to do about it")
		}
		return services.Fail("%s", seen).WithFix("%s", p.Hint)
	case err != nil:
		return services.Fail("%v", err)
	}
	seen := "no file, only defaults and the environment"
	if files := loaded.Files(); len(files) > 0 {
		seen = strings.Join(files, ", ")
	}
	if len(missing) > 0 {
		seen += fmt.Sprintf("; whether the vault has %s is not known: %v", missing[0].Key, unknown)
	}
	return services.OK("%s", seen)
}

// clarity leaves files that others may read to their own check: the way out is the same.
func clarity(src config.Sources, vaulted func() ([]string, error)) services.Result {
	_, loaded, err := Load(src)
	if err != nil {
		return services.Skip("see BLF-CFG-001")
	}
	if len(openSecrets(loaded)) > 0 {
		return services.Skip("see BLF-CFG-003")
	}
	names, _ := vaulted() // without them the hint is less exact
	plain := SecretsInFiles(loaded, names)
	if len(plain) == 0 {
		return services.OK("none does")
	}
	var seen []string
	for _, p := range plain {
		seen = append(seen, p.Origin.String()+": "+p.Message)
	}
	return services.Warn("%s", strings.Join(seen, "; ")).WithFix("%s", plain[0].Hint)
}

// secrecy looks at the files that set a secret.
func secrecy(src config.Sources) services.Result {
	_, loaded, err := Load(src)
	if err != nil {
		return services.Skip("see BLF-CFG-001")
	}
	open := openSecrets(loaded)
	switch {
	case len(open) > 0:
		return services.Warn("anybody on this machine may read %s", strings.Join(open, ", ")).WithFix("let nobody but the daemon's user read it: chmod 600 %s", strings.Join(open, " "))
	case len(secretFiles(loaded)) == 0:
		return services.OK("there is no secret in a file")
	}
	return services.OK("nobody else may read them")
}

// secretFiles are the files that set a secret.
func secretFiles(loaded *config.Loaded) (files []string) {
	set := config.NewSecret("any").String() // what every secret is shown as
	for _, key := range loaded.Keys() {
		value, _ := loaded.Get(key)
		if o := loaded.Origin(key); value == set && o.Source == config.FromFile && !slices.Contains(files, o.Name) {
			files = append(files, o.Name)
		}
	}
	return files
}

// probes are the checks of the configuration that the daemon runs with.
func (o Options) probes(r *reloader) []services.Probe {
	vaulted := func() ([]string, error) { return r.names(), nil }
	return append(slices.Concat(configProbes(o.Sources, o.DataDir, vaulted, r.watched), o.Config.limitProbes()), services.Probe{
		ID: "BLF-CFG-002", Title: "The daemon runs with what the files say",
		Why: "a change of the files takes effect with `blufio config reload`, or when the daemon starts again",
		Fix: "restart the daemon",
		Run: func(context.Context) services.Result { return r.changes() },
	})
}

// watched are the files of the gateway's certificate while it is in use: its own check
// speaks of them. That of a certificate which is not in use yet does not.
func (r *reloader) watched(now *config.Loaded, p config.Problem) bool {
	if !strings.HasPrefix(p.Key, "gateway.tls_") || r.o.Loaded == nil {
		return false
	}
	is, _ := r.o.Loaded.Get(p.Key)
	will, _ := now.Get(p.Key)
	return is == will
}

// changes compares what the daemon runs with and what it would start with now.
func (r *reloader) changes() services.Result {
	if r.o.Loaded == nil {
		return services.Skip("the daemon does not know where its configuration came from")
	}
	cfg, now, err := Load(r.o.Sources)
	if err != nil || len(MissingKeys(cfg, now, r.names())) > 0 {
		return services.Info("it runs with what it has read: the files are not valid now")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch reload, restart := r.waiting(now); {
	case len(restart) > 0 && len(reload) > 0:
		return services.Warn("changed since its start: %s", strings.Join(slices.Concat(restart, reload), ", ")).
			WithFix("restart the daemon; for %s `blufio config reload` is enough", strings.Join(reload, ", "))
	case len(restart) > 0:
		return services.Warn("changed since its start: %s", strings.Join(restart, ", "))
	case len(reload) > 0:
		return services.Warn("changed since it was read: %s", strings.Join(reload, ", ")).WithFix("run `blufio config reload`, or restart the daemon")
	}
	return services.OK("nothing has changed since it was read")
}
