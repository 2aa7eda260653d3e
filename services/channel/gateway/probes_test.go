// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// A token that somebody uses is named when the last tenth of its time has begun; one
// that nobody uses, or that has ended, is not.
func TestEndsOfTokensAreForeseen(t *testing.T) {
	clock := &fakeClock{at: time.Now()}
	r := startWith(t, func(d *Deps) { d.Now = clock.now }, nil)
	want := func(level, seen string) {
		t.Helper()
		if got := r.service.passes.probe(); got.Level != level || !strings.Contains(got.Seen, seen) {
			t.Errorf("%+v, want %s, %q", got, level, seen)
		}
	}
	want(bus.LevelOK, "none is valid")
	req := bus.TokenRequest{Subject: "me", Name: "phone", Scopes: []string{"chat"}, Seconds: 24 * 3600}
	phone := r.issue(req)
	req.Name = "unused"
	r.issue(req)
	use := func() int {
		return r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+phone.Token).status
	}
	use()
	want(bus.LevelOK, "2 of at most 1024 are valid")
	clock.add(22 * time.Hour)
	want(bus.LevelInfo, "these end: phone at ")
	clock.add(3 * time.Hour)
	if status := use(); status != 401 {
		t.Errorf("status %d", status)
	}
	want(bus.LevelOK, "none is valid")
}

// Scrapes beyond the bound are told busy, and the next one is answered.
func TestScrapesAreBounded(t *testing.T) {
	r := start(t)
	for range maxScrapes - 1 {
		r.service.scrapes <- struct{}{}
	}
	if a := r.do("GET", "/metrics", ""); a.status != 200 || !strings.Contains(a.body, "blufio_gateway_scrapes 4\n") || !strings.Contains(a.body, "blufio_gateway_scrapes_limit 4\n") {
		t.Errorf("the last place: status %d", a.status)
	}
	r.service.scrapes <- struct{}{}
	if code, message, _ := r.do("GET", "/metrics", "").failure(t); code != string(bus.CodeBusy) || !strings.Contains(message, "4 scrapes") {
		t.Errorf("one more: %s %s", code, message)
	}
	<-r.service.scrapes
	if a := r.do("GET", "/metrics", ""); a.status != 200 {
		t.Errorf("afterwards: status %d", a.status)
	}
}
