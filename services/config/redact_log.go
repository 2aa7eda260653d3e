// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Handler makes next log only what r has redacted: message, keys and values, whatever
// their type.
func (r *Redactor) Handler(next slog.Handler) slog.Handler {
	if h, ok := next.(*redactHandler); ok && h.r == r {
		return next
	}
	return &redactHandler{r: r, next: next}
}

// Logger is log behind r's Handler.
func (r *Redactor) Logger(log *slog.Logger) *slog.Logger { return slog.New(r.Handler(log.Handler())) }

type redactHandler struct {
	r    *Redactor
	next slog.Handler
}

var _ slog.Handler = (*redactHandler)(nil)

// Enabled implements slog.Handler.
func (h *redactHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler. A record with nothing to redact goes on as it is.
func (h *redactHandler) Handle(ctx context.Context, rec slog.Record) error {
	message := h.r.Redact(rec.Message)
	hit := message != rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		_, changed := h.r.attr(a)
		hit = hit || changed
		return !hit
	})
	if !hit {
		return h.next.Handle(ctx, rec)
	}
	clean := slog.NewRecord(rec.Time, rec.Level, message, rec.PC)
	rec.Attrs(func(a slog.Attr) bool {
		a, _ = h.r.attr(a)
		clean.AddAttrs(a)
		return true
	})
	return h.next.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (h *redactHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean, _ := h.r.attrs(attrs)
	return &redactHandler{r: h.r, next: h.next.WithAttrs(clean)}
}

// WithGroup implements slog.Handler.
func (h *redactHandler) WithGroup(name string) slog.Handler {
	return &redactHandler{r: h.r, next: h.next.WithGroup(h.r.Redact(name))}
}

// attrs returns the list itself when there is nothing to redact.
func (r *Redactor) attrs(list []slog.Attr) (clean []slog.Attr, changed bool) {
	for i, a := range list {
		a, hit := r.attr(a)
		if hit && !changed {
			clean, changed = append(clean, list...), true
		}
		if hit {
			clean[i] = a
		}
	}
	if !changed {
		return list, false
	}
	return clean, true
}

func (r *Redactor) attr(a slog.Attr) (clean slog.Attr, changed bool) {
	if key := r.Redact(a.Key); key != a.Key {
		a.Key, changed = key, true
	}
	value, hit := r.value(a.Value)
	a.Value = value
	return a, changed || hit
}

// value redacts what the handlers would write. Numbers, times and the like have no
// secrets in them.
func (r *Redactor) value(v slog.Value) (slog.Value, bool) {
	resolved := v.Resolve() // its LogValue may say more than it does itself
	switch resolved.Kind() {
	case slog.KindString:
		text := resolved.String()
		if clean := r.Redact(text); clean != text {
			return slog.StringValue(clean), true
		}
	case slog.KindGroup:
		if clean, hit := r.attrs(resolved.Group()); hit {
			return slog.GroupValue(clean...), true
		}
	case slog.KindAny:
		return r.rendered(resolved)
	}
	return v, false
}

// rendered looks at any other value as text: an error's own, bytes as they are, and
// everything else as the handlers for text and for JSON write it.
func (r *Redactor) rendered(v slog.Value) (slog.Value, bool) {
	var text string
	switch x := v.Any().(type) {
	case nil, *slog.Source:
		return v, false
	case []byte:
		text = string(x)
	default:
		text = fmt.Sprintf("%+v", x) // also of a method that panics
	}
	if clean := r.Redact(text); clean != text {
		return slog.StringValue(clean), true
	}
	if _, ok := v.Any().(error); ok {
		return v, false
	}
	data, err := json.Marshal(v.Any())
	if err != nil {
		return v, false
	}
	if clean := r.RedactJSON(data); !bytes.Equal(clean, data) {
		return slog.StringValue(string(clean)), true
	}
	return v, false
}
