// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "context"

type traceKey struct{}

// WithTrace returns a context whose calls carry id, so that one message can be
// followed through the logs of every room. The id of the message itself serves.
func WithTrace(ctx context.Context, id string) context.Context {
	if id == "" {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, id)
}

// Trace returns the id that WithTrace set, or "".
func Trace(ctx context.Context) string {
	id, _ := ctx.Value(traceKey{}).(string)
	return id
}
