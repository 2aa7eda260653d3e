// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/outbound"
)

// DefaultURL is Telegram's own Bot API server.
const DefaultURL = "https://api.telegram.org"

// Config is the section [telegram].
type Config struct {
	BotToken       config.Secret `koanf:"bot_token" doc:"The bot's token, from @BotFather. Without one the channel is off."`
	APIURL         string        `koanf:"api_url" doc:"The Bot API server; another one than Telegram's own for a server of yours."`
	AllowPlaintext bool          `koanf:"allow_plaintext" doc:"Let api_url be http:// on another machine than this one: a server in your own network. Messages and the token travel in the clear."`
	Allow          []int64       `koanf:"allow" live:"true" max:"1000" doc:"Who may talk to the bot: ids of people, and of groups in which everyone may. Empty is nobody. The bot tells whoever it refuses the id to add."`
	PollTimeout    time.Duration `koanf:"poll_timeout" min:"1s" max:"50s" doc:"How long Telegram holds a question for news when there is none."`
	EditInterval   time.Duration `koanf:"edit_interval" min:"200ms" max:"1m" doc:"While an answer is being made, how often its message is brought up to date. Telegram allows about one change a second in a chat. In a group it is at least 4 s, for there it allows about 20 messages a minute."`
	Typing         time.Duration `koanf:"typing" min:"0s" max:"1h" doc:"How long at most a chat shows that the bot is typing, before the answer; 0 is never."`
	MaxFileBytes   int64         `koanf:"max_file_bytes" min:"1024" max:"20971520" doc:"Largest file that is taken; Telegram gives bots at most 20 MiB."`
	FilesMB        int           `koanf:"files_mb" min:"1" max:"100000" doc:"How much all files together may take in the database, in MiB; beyond, files are refused."`
	KeepFiles      time.Duration `koanf:"keep_files" min:"1h" max:"3650d" doc:"How long a file is kept after it came; one whose message is not answered yet stays longer."`
}

// Defaults are the settings of a fresh install: off.
func Defaults() Config {
	return Config{APIURL: DefaultURL, PollTimeout: 50 * time.Second, EditInterval: time.Second, Typing: 10 * time.Minute,
		MaxFileBytes: 5 << 20, FilesMB: 256, KeepFiles: 30 * 24 * time.Hour}
}

// Files are the bounds of the files kept.
func (c Config) Files() blob.Limits {
	return blob.Limits{Blob: c.MaxFileBytes, Sum: int64(c.FilesMB) << 20, Keep: c.KeepFiles}
}

var tokenShape = regexp.MustCompile(`^[0-9]{1,20}:[A-Za-z0-9_-]{8,100}$`)

// Check reports what no bound of a single key can say.
func (c Config) Check(report func(key, message, hint string)) {
	if !c.BotToken.IsLive() && !c.BotToken.IsZero() && !tokenShape.MatchString(c.BotToken.Reveal()) {
		report("bot_token", "it does not look like a bot's token", "copy it again from @BotFather: a number, a colon, letters and digits")
	}
	if slices.Contains(c.Allow, 0) {
		report("allow", "0 is nobody's id", "write to the bot: it answers with your id")
	}
	u, err := url.Parse(c.APIURL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		report("api_url", "it is not a URL of https:// or http://", `write it like "`+DefaultURL+`"`)
		return
	}
	var plain *outbound.PlaintextError
	if errors.As(c.outbound().CheckURL(u), &plain) {
		report("api_url", plain.Error(), plain.Hint())
	}
}

// validate returns the first problem that Check finds.
func (c Config) validate() (err error) {
	c.Check(func(key, message, hint string) {
		if err == nil {
			err = errors.New("telegram." + key + ": " + message + " (" + hint + ")")
		}
	})
	return err
}

// outbound are the bounds of the client for everything but files.
func (c Config) outbound() outbound.Options {
	return outbound.Options{AllowPlaintext: c.AllowPlaintext, Setting: "telegram.allow_plaintext",
		Silence: c.PollTimeout + 15*time.Second, MaxBody: maxAnswer}
}
