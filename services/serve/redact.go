// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"log/slog"
	"net/url"
	"strings"

	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/logring"
	"github.com/blufio/blufio/services/vault"
	"github.com/nats-io/nkeys"
)

// PassphraseVariable is the one of the environment with the vault's passphrase.
const PassphraseVariable = vault.PassphraseVariable

// Redactor knows the secrets of a configuration and of the environment, which is as
// os.Environ gives it. Give it to [Run], and take out with it what the caller itself
// logs or shows of Run's error.
func Redactor(cfg Config, environ []string) *config.Redactor {
	r := &config.Redactor{}
	for _, s := range cfg.secrets() {
		_ = r.Add(s.Secret) // Run tells what cannot be found
	}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		switch {
		case name == PassphraseVariable:
			_ = r.Add(config.NewSecret(value)) // short: what is that bad a passphrase is told by the vault
		case strings.HasSuffix(strings.ToUpper(name), "_PROXY"):
			_ = r.Add(password(value)) // likewise: at worst the proxy's password is too short
		}
	}
	return r
}

// password is the one in a URL, none if there is none.
func password(text string) config.Secret {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return config.Secret{}
	}
	word, _ := u.User.Password()
	return config.NewSecret(word)
}

// secrets are those of the configuration that are set.
func (c Config) secrets() []config.KeyedSecret {
	found, err := config.Secrets(c)
	if err != nil {
		return nil // Load has used the same schema
	}
	return found
}

// redact makes o's logger one that says no secret and is remembered, and everything
// learn theirs.
func (o *Options) redact(device *embedded.Device) {
	if o.Redactor == nil {
		o.Redactor = Redactor(o.Config, nil)
	}
	o.ring = &logring.Ring{}
	o.Logger = o.Redactor.Logger(slog.New(o.ring.Handler(o.Logger.Handler())))
	for _, s := range o.Config.secrets() {
		learn(o.Redactor, s.Key, s.Secret, o.Logger)
	}
	o.learnDevice(device)
}

// learnDevice makes the redactor know a device key: as its file has it, and its bytes.
func (o *Options) learnDevice(device *embedded.Device) {
	private := device.Private().Seed()
	if seed, err := nkeys.EncodeSeed(nkeys.PrefixByteUser, private); err == nil {
		learn(o.Redactor, "the device key", config.NewSecret(string(seed)), o.Logger)
	}
	learn(o.Redactor, "the device key", config.NewSecret(string(private)), o.Logger)
}

// learn makes r know a secret, and says so when it cannot be taken out of text.
func learn(r *config.Redactor, what string, s config.Secret, log *slog.Logger) {
	if err := r.Add(s); err != nil {
		log.Warn("a secret is not taken out of logs and errors, should anything repeat it", "secret", what, "err", err)
	}
}
