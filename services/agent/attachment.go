// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// A message names the files that came with it; they lie in services/internal/blob
// and are held until its turn has ended. The model gets to see pictures and read
// texts of the message it answers. Everything else, and all files of messages
// before, it knows by name.
const (
	maxAttachments = 10
	maxPictures    = 4
	maxPicture     = 3 << 20   // bytes of one: vendors take 5 MB in base64
	maxTextFile    = 128 << 10 // bytes of a text that are read; the rest is cut off
)

var (
	pictures  = []string{"image/jpeg", "image/png", "image/gif", "image/webp"}
	textTypes = []string{"application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml", "application/javascript"}
	textNames = []string{".md", ".txt", ".json", ".yaml", ".yml", ".toml", ".csv", ".log", ".go", ".py", ".sh", ".js", ".ts", ".sql"}
)

func (s *Service) checkAttachments(as []bus.Attachment) error {
	if len(as) > maxAttachments {
		return bus.Errorf(bus.CodeTooLarge, "the message has %d files; at most %d are taken", len(as), maxAttachments)
	}
	if len(as) > 0 && s.blobs == nil {
		return bus.Errorf(bus.CodeInvalid, "files are not taken here")
	}
	for _, a := range as {
		if a.ID == "" || a.Bytes < 0 || len(a.ID)+len(a.Name)+len(a.MediaType)+len(a.Kind) > 1024 || !printable(a.ID+a.Name+a.MediaType+a.Kind) {
			return bus.Errorf(bus.CodeInvalid, "a file needs an id, a size, and one line each of name, kind and media type")
		}
	}
	return nil
}

// attach stores which files belong to a message, and holds them.
func attach(tx *sqlite.Tx, seq int64, as []bus.Attachment) error {
	if len(as) == 0 {
		return nil
	}
	data, err := json.Marshal(as)
	if err != nil {
		return err
	}
	for _, a := range as {
		if err := blob.Hold(tx, a.ID); errors.Is(err, blob.ErrNotFound) {
			return bus.Errorf(bus.CodeInvalid, "the file %q is not there", a.Name)
		} else if err != nil {
			return err
		}
	}
	_, err = tx.Exec(`UPDATE message SET attachments = ? WHERE seq = ?`, string(data), seq)
	return err
}

// release lets the files of an ended turn go when their time has come.
func release(tx *sqlite.Tx, as []bus.Attachment) error {
	for _, a := range as {
		if err := blob.Release(tx, a.ID); err != nil {
			return err
		}
	}
	return nil
}

func readAttachments(stored string) (as []bus.Attachment, err error) {
	if stored == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(stored), &as); err != nil {
		return nil, fmt.Errorf("read attachments: %w", err)
	}
	return as, nil
}

// withNames is the text of an earlier message, with a line for each file.
func withNames(text, stored string) string {
	as, _ := readAttachments(stored) // what cannot be read is not worth losing the history
	for _, a := range as {
		text = join(text, named(a, ""))
	}
	return text
}

func named(a bus.Attachment, why string) string {
	return fmt.Sprintf("[%s: %s%s]", a.Kind, a.Name, why)
}

func join(text, more string) string {
	if text == "" {
		return more
	}
	return text + "\n" + more
}

// seen tells for each file of a message whether the model gets to see it, as a picture or
// as text, and what a turn with that much material needs for them, in slots of pictures and
// bytes of material: as many as may be in memory at once.
func (s *Service) seen(files []bus.Attachment, beside int) (see []bool, pictures, material int) {
	see = make([]bool, len(files))
	shown := 0
	for i, a := range files {
		switch size := int(min(a.Bytes, maxPicture+1)); {
		case isPicture(a):
			if size > maxPicture || shown == maxPictures || pictures+slots(size) > cap(s.pictureStock) {
				continue
			}
			shown, pictures = shown+1, pictures+slots(size)
		case isText(a):
			size = min(size, maxTextFile)
			if slots(beside+material+size-freeBytes) > cap(s.materialStock) {
				continue
			}
			material += size
		default:
			continue
		}
		see[i] = true
	}
	return see, pictures, material
}

func isPicture(a bus.Attachment) bool {
	return a.Kind == bus.KindImage && slices.Contains(pictures, a.MediaType)
}

// question is the message to answer, with what the model can see of its files.
func (s *Service) question(ctx context.Context, t *turn) (llm.Message, error) {
	q := llm.Message{Role: llm.User, Text: t.text}
	see, pictures, material := s.seen(t.files, t.holds.bytes)
	if err := s.hold(ctx, &t.holds, pictures, material); err != nil {
		return q, err
	}
	for i, a := range t.files {
		switch {
		case !see[i]:
			q.Text = join(q.Text, named(a, fmt.Sprintf(" (%s, %d bytes; I cannot look inside)", a.MediaType, a.Bytes)))
		case isPicture(a):
			data, err := s.blobs.Read(ctx, a.ID, a.Bytes)
			if err != nil {
				q.Text = join(q.Text, s.unread(ctx, t, a, err))
				continue
			}
			q.Images = append(q.Images, llm.Image{MediaType: a.MediaType, Data: data})
			q.Text = join(q.Text, named(a, ""))
		default:
			data, err := s.blobs.Read(ctx, a.ID, min(a.Bytes, maxTextFile))
			if err != nil {
				q.Text = join(q.Text, s.unread(ctx, t, a, err))
				continue
			}
			q.Text = join(q.Text, quoteFile(a, data))
		}
	}
	return q, ctx.Err()
}

func (s *Service) unread(ctx context.Context, t *turn, a bus.Attachment, err error) string {
	if ctx.Err() == nil {
		s.log.Warn("file not read", "service", "agent", "trace", t.id, "err", err)
	}
	return named(a, " (it could not be read)")
}

func isText(a bus.Attachment) bool {
	return strings.HasPrefix(a.MediaType, "text/") || slices.Contains(textTypes, a.MediaType) ||
		a.MediaType == "application/octet-stream" && slices.Contains(textNames, strings.ToLower(path.Ext(a.Name)))
}

// quoteFile is a text file as a part of the message, if it is text.
func quoteFile(a bus.Attachment, data []byte) string {
	why := ""
	if int64(len(data)) < a.Bytes {
		why = fmt.Sprintf(" (its first %d of %d bytes)", len(data), a.Bytes)
		for n := 0; n < utf8.UTFMax && len(data) > 0 && !utf8.Valid(data[max(0, len(data)-utf8.UTFMax):]); n++ {
			data = data[:len(data)-1] // the cut may have hit a character
		}
	}
	if !utf8.Valid(data) || slices.Contains(data, 0) {
		return named(a, fmt.Sprintf(" (%d bytes; it is not text in UTF-8)", a.Bytes))
	}
	return named(a, why+", between the lines") + "\n-----\n" + string(data) + "\n-----"
}
