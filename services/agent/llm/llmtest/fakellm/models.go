// SPDX-License-Identifier: MIT OR Apache-2.0

package fakellm

import (
	"encoding/json"
	"net/http"
	"time"
)

// listing is what a vendor says of its models.
type listing struct {
	answer *Answer // instead of the list; nil is the list
	models []string
	ahead  time.Duration // of the vendor's clock
	takes  time.Duration
}

// Offer sets the models on offer. Without it there are the vendor's default ones.
func (v *vendor) Offer(models ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listing.models = models
}

// Listing has the question for the models fail, or answered by something else.
func (v *vendor) Listing(a Answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listing.answer = &a
}

// SlowListing is how long the question for the models takes to be answered.
func (v *vendor) SlowListing(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listing.takes = d
}

// Clock sets the vendor's clock, as the Date of its answers shows it.
func (v *vendor) Clock(ahead time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listing.ahead = ahead
}

// list answers GET /v1/models: "List models" of both vendors. Which of them is asked
// shows in the header.
func (v *Vendors) list(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Anthropic-Version") != "" {
		v.Anthropic.list(w, r, r.Header.Get("X-Api-Key"), Fails(http.StatusUnauthorized, "authentication_error", "invalid x-api-key").anthropicFailure())
		return
	}
	v.OpenAI.list(w, r, bearer(r.Header), Fails(http.StatusUnauthorized, "invalid_api_key", "Incorrect API key provided").openAIFailure())
}

func (v *vendor) list(w http.ResponseWriter, r *http.Request, key string, denied map[string]any) {
	v.mu.Lock()
	l, want := v.listing, v.key
	v.mu.Unlock()
	v.pass(r, l.takes)
	w.Header().Set("Date", time.Now().Add(l.ahead).UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json")
	say := func(status int, body any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // whoever asked has gone
	}
	switch {
	case l.answer != nil:
		for name, values := range l.answer.Header {
			w.Header()[name] = values
		}
		say(l.answer.Status, map[string]any{"type": "error", "error": map[string]any{"type": l.answer.Code, "code": l.answer.Code, "message": l.answer.Error}})
	case want != "" && key != want:
		say(http.StatusUnauthorized, denied)
	default:
		models := l.models
		if models == nil {
			models = []string{"gpt-4o-mini", "claude-haiku-4-5-20251001"}
		}
		data := []map[string]any{}
		for _, m := range models {
			data = append(data, map[string]any{"id": m, "object": "model", "type": "model"})
		}
		say(http.StatusOK, map[string]any{"object": "list", "data": data, "has_more": false})
	}
}
