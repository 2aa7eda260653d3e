// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/fatih/color"
)

const maxDetail = 160 // characters of one field on a terminal

// eventLine is an event on one line: when, its position, its name and what its
// payload says, what only serves to find it again at the end.
func eventLine(u ui, e bus.EventRecord) string {
	name := strings.TrimPrefix(e.Event, "evt.")
	return strings.TrimRight(fmt.Sprintf("%s %s  %s  %s", u.dim(happened(e).Local().Format(time.DateTime)),
		u.dim(fmt.Sprintf("#%d", e.Position)), nameColour(u, name)(fmt.Sprintf("%-20s", line(name))), eventDetails(u, e.Payload)), " ") + "\n"
}

// happened is when an event happened, as its payload says; without that, when it was
// stored, which is much later in a stream that was made anew.
func happened(e bus.EventRecord) time.Time {
	var said struct {
		Time time.Time `json:"time"`
	}
	if err := json.Unmarshal(e.Payload, &said); err != nil || said.Time.IsZero() {
		return e.Time
	}
	return said.Time
}

// nameColour is red and yellow for what an owner should know of, otherwise it
// tells the areas apart.
func nameColour(u ui, name string) func(string) string {
	for _, end := range []string{".failed", ".died", ".denied", ".exhausted", ".gap", ".down"} {
		if strings.HasSuffix(name, end) {
			return u.red
		}
	}
	for _, end := range []string{".warned", ".pressure", ".interrupted", ".restarted", ".dropped", ".changed", ".stopping"} {
		if strings.HasSuffix(name, end) {
			return u.yellow
		}
	}
	area, _, _ := strings.Cut(name, ".")
	switch area {
	case "message", "reply":
		return func(s string) string { return u.paint(s, color.FgCyan) }
	case "cost":
		return func(s string) string { return u.paint(s, color.FgMagenta) }
	case "tool":
		return func(s string) string { return u.paint(s, color.FgBlue) }
	}
	return u.green
}

// field is one field of a payload.
type field struct {
	key  string
	text string
}

// eventDetails writes a payload's fields as key=value, in their order, ids last.
func eventDetails(u ui, payload json.RawMessage) string {
	fields, ok := readFields(payload)
	if !ok {
		return shorten(u, line(string(payload)))
	}
	var said, ids []string
	ofMessage := slices.ContainsFunc(fields, func(f field) bool { return f.key == "message_id" })
	for _, f := range fields {
		switch {
		case f.key != "id" && !strings.HasSuffix(f.key, "_id"):
			said = append(said, u.dim(f.key+"=")+shorten(u, f.text))
		case f.key != "id" || !ofMessage: // that of the message finds all the others
			ids = append(ids, u.dim(f.key+"="+shorten(u, f.text)))
		}
	}
	return strings.Join(append(said, ids...), " ")
}

func shorten(u ui, s string) string {
	if !u.tty || utf8.RuneCountInString(s) <= maxDetail {
		return s
	}
	return string([]rune(s)[:maxDetail-1]) + "…"
}

// readFields reads the fields of an object that say something, in their order; those of
// an object within it stand for that object. It is false for what is no object.
func readFields(payload json.RawMessage) (fields []field, ok bool) {
	d := json.NewDecoder(bytes.NewReader(payload))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, false
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, false
		}
		name := line(fmt.Sprint(key))
		if inner, ok := readFields(value); ok {
			fields = append(fields, inner...)
		} else if text := fieldText(name, value); text != "" {
			fields = append(fields, field{unitless(name), text})
		}
	}
	_, err := d.Token() // the closing brace
	return fields, err == nil
}

// unitless leaves out of a name what the value says itself.
func unitless(key string) string {
	for _, unit := range []string{"_microusd", "_ms", "_bytes", "_seconds"} {
		key = strings.TrimSuffix(key, unit)
	}
	return key
}

// fieldText is a value in a human way; "" when it says nothing, as zero does.
func fieldText(key string, value json.RawMessage) string {
	var v any
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return ""
	}
	switch v := v.(type) {
	case string:
		return stringText(key, v)
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return numberText(key, v)
	case []any:
		return listText(v)
	}
	return ""
}

func stringText(key, s string) string {
	s = line(s)
	switch {
	case key == "time": // the line says when
		return ""
	case strings.ContainsAny(s, ` "`):
		return strconv.Quote(s)
	}
	return s
}

func numberText(key string, v json.Number) string {
	n, err := v.Int64()
	switch {
	case err != nil:
		return v.String()
	case strings.HasSuffix(key, "_microusd"):
		return bus.MicroUSD(n).String()
	case strings.HasSuffix(key, "_ms"):
		return (time.Duration(min(n, int64(1e12))) * time.Millisecond).String()
	case strings.HasSuffix(key, "_seconds"):
		return strings.ReplaceAll(span(time.Duration(min(n, int64(1e9)))*time.Second), " ", "")
	case key == "bytes", strings.HasSuffix(key, "_bytes"):
		return strings.ReplaceAll(size(n), " ", "")
	case n == 0:
		return ""
	}
	return v.String()
}

// listText names what is in a list: texts, or objects by their name.
func listText(list []any) string {
	var names []string
	for _, item := range list {
		if o, ok := item.(map[string]any); ok {
			item = o["name"]
		}
		if name, ok := item.(string); ok && name != "" {
			names = append(names, line(name))
		}
	}
	return strings.Join(names, ",")
}
