// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"encoding/json"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/clip"
)

// What turns hold in memory, beside their text and history, is bounded for all of them
// together. A turn takes slots of two stocks and gives them back at its end:
//
//	pictures  that the model gets to see
//	material  text files, and what tools are asked and bring back, in all rounds; the
//	          first 16 KiB of each turn need no slot
//
// For what comes with the message a turn waits, before it has asked anybody. For what
// tools bring it does not, for it holds slots already, and two turns could wait for each
// other: what finds no room is cut, and says so. Nor does a turn that goes on after a
// restart, with what it had then.
const (
	slotBytes = 64 << 10
	freeBytes = 16 << 10 // of a turn's material
	leastText = 128      // bytes of each text that there is always room for: that it was done, or not
)

// stock is a bound in slots.
type stock chan struct{}

func newStock(mib int) stock { return make(stock, mib<<20/slotBytes) }

// held is how many bytes are taken, in whole slots.
func (k stock) held() int { return len(k) * slotBytes }

func (k stock) limit() int { return cap(k) * slotBytes }

// slots is how many it takes to hold n bytes.
func slots(n int) int { return (max(n, 0) + slotBytes - 1) / slotBytes }

// holding is what a turn has of the stocks.
type holding struct {
	pictures int // slots
	material int // slots
	bytes    int // of material, with those that need no slot
}

// hold waits until the turn has room for files, of which there are no more than fit at all:
// slots of pictures, and so many bytes of material more. Turns collect their slots one after
// another, or two could wait for each other.
func (s *Service) hold(ctx context.Context, h *holding, pictures, files int) error {
	if pictures == 0 && files == 0 {
		return nil
	}
	h.bytes += files
	select {
	case s.entering <- struct{}{}:
		defer func() { <-s.entering }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.pictureStock.collect(ctx, &h.pictures, pictures); err != nil {
		return err
	}
	return s.materialStock.collect(ctx, &h.material, slots(h.bytes-freeBytes))
}

// collect takes slots until there are so many. Those that it has got are the turn's also
// when ctx ends before.
func (k stock) collect(ctx context.Context, has *int, want int) error {
	for *has < want {
		select {
		case k <- struct{}{}:
			*has++
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// letGo gives back all that a turn holds.
func (s *Service) letGo(h *holding) {
	for ; h.pictures > 0; h.pictures-- {
		<-s.pictureStock
	}
	for ; h.material > 0; h.material-- {
		<-s.materialStock
	}
}

// claim takes room for n more bytes of material, without waiting, and reports whether
// there was. Where there was not, the slots that it got stay the turn's: a part of the text
// may yet fit into them. A text as short as leastText fits always, beyond the bound if need be.
func (s *Service) claim(h *holding, n int) bool {
	for need := slots(h.bytes + n - freeBytes); h.material < need; {
		select {
		case s.materialStock <- struct{}{}:
			h.material++
		default:
			if n > leastText {
				return false
			}
			need = 0 // without a slot, then
		}
	}
	h.bytes += n
	return true
}

// goOn counts what an earlier run of the turn has gathered. It is in memory already, so
// where there is no slot for it, it goes without.
func (s *Service) goOn(h *holding, n int) {
	if !s.claim(h, n) {
		h.bytes += n
	}
}

// noRoom stands where a text was cut because other turns hold too much.
const noRoom = "… (cut: too much is being read at this moment)"

// admit cuts a text to what the turn finds room for.
func (s *Service) admit(h *holding, text string) string {
	if s.claim(h, len(text)) {
		return text
	}
	room := freeBytes + h.material*slotBytes - h.bytes
	text = clip.Bytes(text, max(room-len(noRoom), leastText)) + noRoom
	h.bytes += len(text)
	return text
}

// noInput is that of a call that says nothing, or nothing that can be kept.
var noInput = json.RawMessage(`{}`)

// admitInput is a call's input as the turn keeps it, and why it cannot be used.
func (s *Service) admitInput(h *holding, input json.RawMessage) (json.RawMessage, error) {
	switch {
	case len(input) == 0:
		return noInput, nil
	case !json.Valid(input):
		return noInput, bus.Errorf(bus.CodeInvalid, "its input was not JSON")
	case !s.claim(h, len(input)):
		return noInput, bus.Errorf(bus.CodeBusy, "its input has %d bytes, and too much is being read at this moment", len(input))
	}
	return input, nil
}

// bytes are those of a step's texts.
func (st step) bytes() int {
	n := len(st.Asked.Text)
	for _, c := range st.Asked.Calls {
		n += len(c.Input)
	}
	for _, r := range st.Result.Results {
		n += len(r.Text)
	}
	return n
}
