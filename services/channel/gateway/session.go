// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/blufio/blufio/bus"
)

// maxPage is the most entries of one page, as the agent's calls have it.
const maxPage = 500

// getSessions lists the sessions of the token's subject, newest first. Those of
// completions without a name are left out: they would push out all others.
func (f *front) getSessions(w http.ResponseWriter, r *request) error {
	query, err := r.query("limit")
	if err != nil {
		return err
	}
	limit, err := parseNumber("limit", query.Get("limit"), 1, maxPage)
	if err != nil {
		return err
	}
	f.patient(w, 0)
	found, err := bus.AgentSessions.Ask(r.Context(), f.conn, bus.SessionQuery{Channel: name, Owner: r.subject, Limit: maxPage})
	if err != nil {
		return err
	}
	found.Sessions = slices.DeleteFunc(found.Sessions, func(s bus.Session) bool { return strings.HasPrefix(s.Name, unnamedSession) })
	if limit == 0 {
		limit = 100
	}
	found.Sessions = append([]bus.Session{}, found.Sessions[:min(int(limit), len(found.Sessions))]...)
	return writeJSON(w, http.StatusOK, found)
}

// historyBody is a page of a session. More says that there is another one,
// after the last seq.
type historyBody struct {
	Messages []messageBody `json:"messages"`
	More     bool          `json:"more"`
}

// getHistory returns a page of one session's messages, oldest first.
func (f *front) getHistory(w http.ResponseWriter, r *request) error {
	query, err := r.query("after", "limit")
	if err != nil {
		return err
	}
	q := bus.HistoryQuery{Channel: name, Owner: r.subject, Session: r.PathValue("id")}
	if q.After, err = parseNumber("after", query.Get("after"), 0, 1<<62); err != nil {
		return err
	}
	limit, err := parseNumber("limit", query.Get("limit"), 1, maxPage)
	if err != nil {
		return err
	}
	q.Limit = int(limit)
	f.patient(w, 0)
	page, err := bus.AgentHistory.Ask(r.Context(), f.conn, q)
	if err != nil {
		return err
	}
	body := historyBody{Messages: make([]messageBody, 0, len(page.Messages)), More: page.More}
	for _, m := range page.Messages {
		body.Messages = append(body.Messages, messageBodyOf(m))
	}
	return writeJSON(w, http.StatusOK, body)
}

// parseNumber reads a query parameter. An absent one is 0, the agent's default.
func parseNumber(key, value string, least, most int64) (int64, error) {
	if value == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < least || n > most {
		return 0, invalid("use a whole number from "+strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10),
			"%s=%q cannot be used", key, shorten(value))
	}
	return n, nil
}
