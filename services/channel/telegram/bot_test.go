// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/config"
)

// tokens stands where the vault is.
type tokens struct {
	mu   sync.Mutex
	text string
	err  error
}

func (t *tokens) IsSet() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text != "" || t.err != nil
}

func (t *tokens) Text() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text, t.err
}

func (t *tokens) set(text string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text, t.err = text, err
}

func liveRig(t *testing.T, token string) (*rig, *tokens) {
	t.Helper()
	r, live := newRig(t), &tokens{text: token}
	r.cfg.BotToken = config.NewLiveSecret(live)
	return r.start(), live
}

const otherToken = "77:the-token-of-another-bot"

// A token that comes starts the polling, one that goes stops it, and nothing of it is
// an outage.
func TestTokenComesAndGoes(t *testing.T) {
	r, live := liveRig(t, "")
	if c := r.room.Door().Channel(); c.State != bus.Stopped || len(r.fake.Requests("")) != 0 {
		t.Errorf("without a token: %+v", c)
	}
	if err := r.deliver(reply("m0", "x")); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Error(err)
	}
	r.fake.Say(ann, "hello")
	live.set(r.fake.Token(), nil)
	r.wait(1)
	r.confirmed()
	r.mustDeliver(reply("m1", "hello yourself"))
	live.set("", nil)
	bustest.Eventually(t, "the channel stops", func() bool { return r.room.Door().Channel().State == bus.Stopped })
	r.fake.Say(ann, "is anyone there?")
	if n := len(facts(r, bus.ChannelDown)) + len(facts(r, bus.ChannelUp)); n != 0 || problem(r) != "" {
		t.Errorf("%d events, problem %q", n, problem(r))
	}
	live.set(r.fake.Token(), nil)
	if got := r.wait(2); got[1].Text != "is anyone there?" {
		t.Errorf("%+v", got[1])
	}
}

// The event of a change is enough: nobody waits for the next look.
func TestChangeIsHeard(t *testing.T) {
	r, live := newRig(t), &tokens{}
	r.cfg.BotToken, r.tick = config.NewLiveSecret(live), time.Hour
	r.start()
	r.fake.Say(ann, "hello")
	live.set(r.fake.Token(), nil)
	subject, data, err := bus.SecretChanged.Encode(bus.SecretFact{Name: "telegram.bot_token", Action: bus.SecretSet})
	if err == nil {
		err = r.agent.NATS().Publish(subject, data) // as the relay does
	}
	if err != nil {
		t.Fatal(err)
	}
	r.wait(1)
}

// A token that was replaced at Telegram's is replaced here, and the page that was not
// confirmed is taken once.
func TestTokenIsReplaced(t *testing.T) {
	r, live := liveRig(t, "4242:the-token-before-it")
	bustest.Eventually(t, "the token is refused", func() bool { return problem(r) == "telegram_token" })
	r.fake.Say(ann, "hello")
	live.set(r.fake.Token(), nil)
	r.wait(1)
	r.confirmed()
	if problem(r) != "" || strings.Contains(r.logged.String(), "the-token-before-it") {
		t.Errorf("problem %q\n%s", problem(r), r.logged)
	}
}

// A vault that is not open is told of at once, in its own words.
func TestTokenIsNotAvailable(t *testing.T) {
	r, live := liveRig(t, "")
	live.set("", bus.Errorf(bus.CodeUnavailable, "the vault is not open").WithHint("put the key back"))
	bustest.Eventually(t, "it is told", func() bool { return problem(r) == "telegram_token" })
	if p := r.room.Door().Health()[0]; p.Title != "the vault is not open" || p.Hint != "put the key back" || r.room.Door().Channel().State != bus.Degraded {
		t.Errorf("%+v", p)
	}
	var coded *bus.Error
	if err := r.deliver(reply("m0", "x")); !errors.As(err, &coded) || coded.Code != bus.CodeUnavailable {
		t.Error(err)
	}
}

// Another bot has other messages under the same ids: none is taken for one of the
// first, and none of its own is edited in place of the first's.
func TestAnotherBot(t *testing.T) {
	r, live := liveRig(t, "4242:fake-token_for-tests")
	first := r.fake.Say(ann, "to the first")
	r.wait(1)
	r.confirmed()
	r.delta("m1", 1, 0, 0, "half an ans")
	r.shows("half an ans")

	r.fake.Become(77, otherToken)
	live.set(otherToken, nil)
	second := r.fake.Say(ann, "to the second")
	got := r.wait(2)
	if first != second || got[0].ExternalID != fmt.Sprintf("%d:%d", ann, first) || got[1].ExternalID != fmt.Sprintf("77/%d:%d", ann, first) {
		t.Errorf("ids %d and %d, known as %q and %q", first, second, got[0].ExternalID, got[1].ExternalID)
	}
	if got[0].Owner != got[1].Owner || got[0].Session != got[1].Session {
		t.Error("the conversation is another")
	}
	r.confirmed()
	if asked := r.fake.Requests("getUpdates"); asked[len(asked)-1].Int("offset") > 100 {
		t.Errorf("the first bot's offset %d is asked for", asked[len(asked)-1].Int("offset"))
	}
	r.mustDeliver(reply("other", "one of its own")) // has the id that the draft had
	r.mustDeliver(reply("m1", "half an answer"))
	if texts := r.texts(ann); len(texts) != 2 || texts[0] != "one of its own" || texts[1] != "half an answer" {
		t.Errorf("the chat is %q", texts)
	}

	r.restart()
	third := r.fake.Say(ann, "again")
	if got := r.wait(3); got[2].ExternalID != fmt.Sprintf("77/%d:%d", ann, third) {
		t.Errorf("after a restart it is known as %q", got[2].ExternalID)
	}
	r.fake.Become(fakebot.ID, "4242:fake-token_for-tests")
	live.set("4242:fake-token_for-tests", nil)
	r.fake.Say(ann, "to the first again")
	r.fake.Say(ann, "and once more")
	if got := r.wait(4); got[3].Text != "and once more" || strings.Contains(got[3].ExternalID, "/") { // the first was taken before, by its id
		t.Errorf("%+v", got[3])
	}
}
