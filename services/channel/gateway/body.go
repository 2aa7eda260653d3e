// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
)

// smallBody is how long a body may be to be read without a slot: its connection has
// about that much room anyway.
const smallBody = 4 << 10

// takeBody reads a JSON body, within its bounds of size and time, and takes a slot
// for it until the message made of it is handed over; leave gives it back. A small
// one takes it when it is there. A large one, or one of unknown size, takes it when it
// begins to come, and has to keep coming; a quarter of the slots is not for those. So
// who sends slowly, or not at all, holds up nobody.
func (f *front) takeBody(w http.ResponseWriter, r *request) (data []byte, leave func(), err error) {
	if err := isJSON(r.Header); err != nil {
		return nil, nil, err
	}
	most := f.live.Load().MaxBodyBytes
	body := http.MaxBytesReader(w, r.Body, int64(most))
	large := r.ContentLength < 0 || r.ContentLength > smallBody
	if large {
		data = make([]byte, 512)
		n, err := body.Read(data)
		data, large = data[:n], !errors.Is(err, io.EOF)
		if err != nil && large {
			return nil, nil, bodyError(err)
		}
	} else if data, err = io.ReadAll(body); err != nil {
		return nil, nil, bodyError(err)
	}
	if !large {
		leave, err = f.enterBody(r, f.bodies)
		return data, leave, err
	}
	if leave, err = f.enterBody(r, f.large, f.bodies); err != nil {
		return nil, nil, err
	}
	rest := newPaced(body, w, most, f.cfg.ReadTimeout)
	if data, err = io.ReadAll(io.MultiReader(bytes.NewReader(data), rest)); err != nil {
		leave()
		return nil, nil, bodyError(err)
	}
	return data, leave, nil
}

// enterBody takes a slot of each kind.
func (f *front) enterBody(r *request, kinds ...chan struct{}) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(r.Context(), f.cfg.ReadTimeout)
	defer cancel()
	taken := 0
	leave = func() {
		for _, slots := range kinds[:taken] {
			<-slots
		}
	}
	for _, slots := range kinds {
		select {
		case slots <- struct{}{}:
			taken++
		case <-ctx.Done():
			leave()
			return nil, bus.Errorf(bus.CodeBusy, "too many requests are being read").WithHint("try again")
		}
	}
	return leave, nil
}

// paceParts is in how many parts the largest body has to come, each in its part of
// read_timeout.
const paceParts = 16

// paced reads a body that has to come at least as fast as the largest one must to
// come in time, and not only on the whole: each part of it has to. A client that
// stops, or sends a byte now and then, is cut off after a part's time.
type paced struct {
	io.Reader
	conn *http.ResponseController
	part int // bytes
	time time.Duration
	end  time.Time
	got  int // of the part under way
}

func newPaced(r io.Reader, w http.ResponseWriter, most int, within time.Duration) *paced {
	p := &paced{Reader: r, conn: http.NewResponseController(w), part: most / paceParts, time: within / paceParts, end: time.Now().Add(within)}
	p.next()
	return p
}

// next gives the next part its time. Where the connection knows no deadlines, the
// server's own holds.
func (p *paced) next() {
	deadline := time.Now().Add(p.time)
	if p.end.Before(deadline) {
		deadline = p.end
	}
	p.got, _ = 0, p.conn.SetReadDeadline(deadline)
}

// Read implements io.Reader. After the body's end the deadline is the server's.
func (p *paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if p.got += n; err == nil && p.got >= p.part {
		p.next()
	}
	return n, err
}

// bodyError says why a body could not be read.
func bodyError(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &refusal{status: http.StatusRequestEntityTooLarge, code: bus.CodeTooLarge,
			message: fmt.Sprintf("the body is larger than %d bytes", large.Limit), hint: "gateway.max_body_bytes is the limit"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refusal{status: http.StatusRequestTimeout, code: bus.CodeTimeout, message: "the body did not arrive in time",
			hint: fmt.Sprintf("gateway.read_timeout is the limit; of a large body, each 1/%d of gateway.max_body_bytes has 1/%d of that", paceParts, paceParts)}
	}
	return invalid("send it again", "the body cannot be read: %v", err)
}

// isJSON checks what the head says of the body.
func isJSON(h http.Header) error {
	const hint = `send JSON with "Content-Type: application/json"`
	given := h.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(given)
	charset := params["charset"]
	if err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &refusal{status: http.StatusUnsupportedMediaType, code: bus.CodeInvalid,
			message: fmt.Sprintf("the content type %q is not JSON in UTF-8", shorten(given)), hint: hint}
	}
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return &refusal{status: http.StatusUnsupportedMediaType, code: bus.CodeInvalid,
			message: fmt.Sprintf("the content encoding %q is not accepted", shorten(enc)), hint: "send the body uncompressed"}
	}
	return nil
}

// field is a member of a JSON object and where its value goes.
type field struct {
	name string
	into any
}

// decodeObject reads one JSON object strictly: only the given members, spelled
// exactly, each at most once, and nothing behind it.
func decodeObject(data []byte, fields ...field) error {
	if at := invalidUTF8(data); at >= 0 {
		return malformed(data, int64(at), "the body is not valid UTF-8")
	}
	var whole json.RawMessage
	var syntax *json.SyntaxError
	if err := json.Unmarshal(data, &whole); errors.As(err, &syntax) {
		return malformed(data, syntax.Offset-1, "the body is not JSON: "+syntax.Error())
	} else if err != nil {
		return malformed(data, 0, "the body is not JSON: "+err.Error())
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return malformed(data, 0, "the body is not a JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		if err := decodeMember(data, dec, seen, fields); err != nil {
			return err
		}
	}
	return nil
}

func decodeMember(data []byte, dec *json.Decoder, seen map[string]bool, fields []field) error {
	token, err := dec.Token()
	key, ok := token.(string)
	if err != nil || !ok {
		return malformed(data, dec.InputOffset(), "the body is not a JSON object")
	}
	at := dec.InputOffset() - 1
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
	if i < 0 {
		e := malformed(data, at, fmt.Sprintf("unknown field %q", shorten(key)))
		e.hint = "known fields: " + names(fields)
		return e
	}
	if seen[key] {
		return malformed(data, at, fmt.Sprintf("the field %q is there twice", key))
	}
	seen[key] = true
	if err := dec.Decode(fields[i].into); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return malformed(data, at, fmt.Sprintf("the field %q is a %s, not a %s", key, kind.Value, kind.Type))
		}
		return malformed(data, at, fmt.Sprintf("the field %q cannot be read: %v", key, err))
	}
	return nil
}

func names(fields []field) string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.name
	}
	return strings.Join(all, ", ")
}

// malformed is a 400 that names the line and the column, both from 1 and the
// column in bytes, of offset at.
func malformed(data []byte, at int64, message string) *refusal {
	before := data[:max(0, min(int(at), len(data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return invalid("", "%s (line %d, column %d)", message, line, column)
}

// invalidUTF8 returns where data is not UTF-8, or -1.
func invalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

// parseWait reads ?wait= and keeps it within most. An absent one is no wait.
func parseWait(value string, most time.Duration) (time.Duration, error) {
	if value == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, invalid(`write it like "30s"`, "wait=%q is not a time to wait", shorten(value))
	}
	return min(d, most), nil
}
