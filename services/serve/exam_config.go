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

// configProbes look at the configuration as whoever makes them reads it: the daemon
// has an environment of its own.
func configProbes(src config.Sources) []services.Probe {
	return []services.Probe{{
		ID: "BLF-CFG-001", Title: "The configuration is valid", Place: services.Either,
		Why: "the daemon does not start on one that it does not understand",
		Fix: "mend it, and see `blufio config validate`",
		Run: func(context.Context) services.Result { return validity(src) },
	}, {
		ID: "BLF-CFG-003", Title: "Files with secrets in them are private", Place: services.Either,
		Why: "who reads a key can spend your money",
		Fix: "let nobody but the daemon's user read it",
		Run: func(context.Context) services.Result { return secrecy(src) },
	}}
}

const shownProblems = 3

func validity(src config.Sources) services.Result {
	_, loaded, err := Load(src)
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
		return services.Fail("%s", seen).WithFix("%s", p.Hint)
	case err != nil:
		return services.Fail("%v", err)
	}
	if files := loaded.Files(); len(files) > 0 {
		return services.OK("%s", strings.Join(files, ", "))
	}
	return services.OK("no file, only defaults and the environment")
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
	return append(slices.Concat(configProbes(o.Sources), o.Config.limitProbes()), services.Probe{
		ID: "BLF-CFG-002", Title: "The daemon runs with what the files say",
		Why: "a change of the files takes effect with `blufio config reload`, or when the daemon starts again",
		Fix: "restart the daemon",
		Run: func(context.Context) services.Result { return r.changes() },
	})
}

// changes compares what the daemon runs with and what it would start with now.
func (r *reloader) changes() services.Result {
	if r.o.Loaded == nil {
		return services.Skip("the daemon does not know where its configuration came from")
	}
	_, now, err := Load(r.o.Sources)
	if err != nil {
		return services.Info("it runs with what it has read: the files are not valid now")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch reload, restart := r.waiting(now); {
	case len(restart) > 0:
		return services.Warn("changed since its start: %s", strings.Join(append(restart, reload...), ", "))
	case len(reload) > 0:
		return services.Warn("changed since it was read: %s", strings.Join(reload, ", ")).WithFix("run `blufio config reload`, or restart the daemon")
	}
	return services.OK("nothing has changed since it was read")
}
