// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/blufio/blufio/services/serve"
)

// An answered completion is in the book, by the id of its message; what was refused, or
// broke off, is not.
func TestCompletionsAreInTheBook(t *testing.T) {
	replies := []struct {
		status int
		body   string
	}{
		{http.StatusOK, `{"id":"chatcmpl-m1","object":"chat.completion","choices":[]}`},
		{http.StatusServiceUnavailable, `{"error":{"message":"busy"}}`},
		{http.StatusOK, `{"id":"chatcmpl-m2`},
		{http.StatusOK, `{"id":"chatcmpl-m3"}`},
	}
	next := 0
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(replies[next].status)
		_, _ = io.WriteString(w, replies[next].body)
		next++
	}))
	defer gateway.Close()
	b, err := newBook(filepath.Join(t.TempDir(), "accepted"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSpeaker(&daemon{info: serve.Info{Gateway: gateway.URL}}, "token", b)
	for i := range replies {
		if err := s.complete(t.Context(), fatCompletion()); (err != nil) != (i == 2) {
			t.Errorf("completion %d: %v", i, err)
		}
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	got, err := b.compare(t.Context(), databaseOf(t, map[string]string{"m1": "answered"}))
	if err != nil || b.accepted.Load() != 2 || got.states["answered"] != 1 || len(got.examples) != 1 || got.examples[0] != "m3" {
		t.Errorf("%d accepted, %+v, %v", b.accepted.Load(), got, err)
	}
}
