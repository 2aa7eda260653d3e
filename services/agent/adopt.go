// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/blufio/blufio/bus"
)

// adopt gives a person of [people] what is known of the places alone: it was kept before
// they got a name. Cut off, it goes on where it was.
func (d *desk) adopt(ctx context.Context) error {
	for _, at := range slices.Sorted(maps.Keys(d.s.named)) {
		for more := true; more; {
			var err error
			if more, err = d.adoptPage(ctx, at, d.s.named[at]); err != nil {
				return fmt.Errorf("give what is known of %s to %s: %w", at, d.s.named[at], err)
			}
		}
	}
	return nil
}

// adoptFacts are moved at once: few, for the room's writer is held that long.
const adoptFacts = 20

// adoptPage moves the oldest facts of a place, history before what replaced it: kept
// under the name first, and then forgotten under the place.
func (d *desk) adoptPage(ctx context.Context, at, name string) (more bool, err error) {
	page, err := bus.RecallList.Ask(ctx, d.s.bus(), bus.RecallPageQuery{Owner: at, History: true, Limit: adoptFacts})
	if err != nil || len(page.Entries) == 0 {
		return false, err
	}
	old := bus.RecallForget{Owner: at}
	for i := range page.Entries {
		e := &page.Entries[i]
		old.IDs = append(old.IDs, e.ID)
		e.ID, e.Owner = adoptedID(e.ID, name), name
		if e.SupersededBy != "" {
			e.SupersededBy = adoptedID(e.SupersededBy, name)
		}
	}
	if _, err := bus.RecallImport.Ask(ctx, d.s.bus(), bus.RecallBatch{Entries: page.Entries}); err != nil {
		return false, err
	}
	_, err = bus.RecallDrop.Ask(ctx, d.s.bus(), old)
	return page.Next != "", err
}

// adoptedID is the id of a fact under another person: the same, however often it is moved.
func adoptedID(id, name string) string {
	sum := sha256.Sum256([]byte(name + "\x00" + id))
	return "given-" + hex.EncodeToString(sum[:12])
}
