// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Next returns the first event with the number from or a higher one; nil when
// there is none. Numbers of one stream grow, with gaps where it has discarded.
func (e *Events) Next(ctx context.Context, from uint64) (*jetstream.RawStreamMsg, error) {
	stream := e.stream.Load()
	if stream == nil {
		return nil, ErrClosed
	}
	msg, err := stream.GetMsg(ctx, max(from, 1), jetstream.WithGetMsgSubject(eventSubjects))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read event %d: %w", from, err)
	}
	return msg, nil
}
