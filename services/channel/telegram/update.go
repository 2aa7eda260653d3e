// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"mime"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/blufio/blufio/bus"
)

const (
	maxQuote     = 300 // characters of what a message replies to
	maxFileName  = 100 // characters
	topicSession = "topic-"
)

// incoming is an update as the room understands it.
type incoming struct {
	from    *message // who, where, when
	edited  bool
	place   place
	message bus.Message // without Owner and Attachments
	file    *file       // to be fetched first
	kind    string      // of the file
	refusal string      // what the person is told instead, "" when it can be taken
	ignored bool        // not meant for the bot
}

// decodeUpdate reads one update. The id is there whenever there is one, so that
// an update that is not understood can be confirmed.
func decodeUpdate(data []byte) (u update, err error) {
	if err = json.Unmarshal(data, &u); err != nil {
		var only struct {
			ID int64 `json:"update_id"`
		}
		if json.Unmarshal(data, &only) == nil {
			u = update{ID: only.ID}
		}
	}
	return u, err
}

// read makes an incoming of an update.
func read(u update, me user, maxFile int64) incoming {
	in := incoming{from: u.Message}
	if u.Edited != nil {
		in.from, in.edited = u.Edited, true
	}
	m := in.from
	if m == nil {
		in.ignored = true
		return in
	}
	in.place.Chat = m.Chat.ID
	in.message = bus.Message{Channel: Name}
	if m.IsTopic && m.ThreadID != 0 {
		in.place.Thread = m.ThreadID
		in.message.Session = topicSession + strconv.FormatInt(m.ThreadID, 10)
	}
	if at := cmp.Or(m.EditDate, m.Date); at > 0 {
		t := time.Unix(at, 0).UTC()
		in.message.SentAt = &t
	}
	text, entities := m.Text, m.Entities
	if text == "" {
		text, entities = m.Caption, m.CaptionEntities
	}
	text, direct, other := address(text, entities, me)
	private := m.Chat.Type == "private"
	replied := m.ReplyTo != nil && m.ReplyTo.From != nil && m.ReplyTo.From.ID == me.ID
	if m.Chat.Type == "channel" || other || !private && !direct && !replied {
		in.ignored = true
		return in
	}
	in.chooseFile(maxFile)
	in.message.ExternalID = in.externalID()
	in.compose(text)
	return in
}

// externalID is the same for the same message, and another for each edit of it. Two within
// a second have one date, so what it says and shows is part of it.
func (in *incoming) externalID() string {
	m := in.from
	id := fmt.Sprintf("%d:%d", m.Chat.ID, m.ID)
	if in.edited {
		h := fnv.New64a()
		_, _ = io.WriteString(h, m.Text+"\x00"+m.Caption) // it never fails
		if in.file != nil {
			_, _ = io.WriteString(h, "\x00"+in.file.Unique)
		}
		id += fmt.Sprintf(":%d:%x", m.EditDate, h.Sum64())
	}
	return id
}

// address looks at whom a text is meant for: direct when it names the bot or is a
// command, other when it is a command for another bot. A mention at the beginning and
// the bot's name behind a command are taken away.
func address(text string, entities []entity, me user) (rest string, direct, other bool) {
	wide := utf16.Encode([]rune(text))
	self := "@" + me.Username
	rest = text
	for _, e := range entities {
		if e.Offset < 0 || e.Length <= 0 || e.Offset > len(wide) || e.Length > len(wide)-e.Offset {
			continue
		}
		said := string(utf16.Decode(wide[e.Offset : e.Offset+e.Length]))
		behind := string(utf16.Decode(wide[e.Offset+e.Length:]))
		switch {
		case e.Type == "mention" && me.Username != "" && strings.EqualFold(said, self),
			e.Type == "text_mention" && e.User != nil && e.User.ID == me.ID:
			direct = true
			if e.Offset == 0 {
				rest = strings.TrimSpace(behind)
			}
		case e.Type == "bot_command" && e.Offset == 0:
			name, to, named := strings.Cut(said, "@")
			if named && !strings.EqualFold("@"+to, self) {
				return text, false, true
			}
			direct, rest = true, name+behind
		}
	}
	return rest, direct, false
}

// chooseFile finds the file that a message has, if any.
func (in *incoming) chooseFile(most int64) {
	m := in.from
	switch {
	case len(m.Photo) > 0:
		best := m.Photo[0]
		for _, p := range m.Photo {
			if p.Size <= most && p.Size >= best.Size || best.Size > most && p.Size < best.Size {
				best = p
			}
		}
		best.Name, best.MimeType = fmt.Sprintf("photo-%d.jpg", m.ID), "image/jpeg"
		in.take(best, bus.KindImage)
	case m.Animation != nil: // before document: Telegram says both
		in.take(*m.Animation, bus.KindVideo)
	case m.Document != nil:
		in.take(*m.Document, bus.KindDocument)
	case m.Voice != nil:
		in.take(*m.Voice, bus.KindAudio)
	case m.Audio != nil:
		in.take(*m.Audio, bus.KindAudio)
	case m.Video != nil:
		in.take(*m.Video, bus.KindVideo)
	case m.VideoNote != nil:
		f := *m.VideoNote
		f.MimeType = cmp.Or(f.MimeType, "video/mp4")
		in.take(f, bus.KindVideo)
	}
	if in.file != nil && in.file.Size > most {
		in.refusal = tooLarge(in.file.Name, in.file.Size, most)
	}
}

func (in *incoming) take(f file, kind string) {
	media, _, err := mime.ParseMediaType(f.MimeType)
	if err != nil || len(media) > maxFileName {
		media = cmp.Or(mime.TypeByExtension(path.Ext(f.Name)), "application/octet-stream")
	}
	if kind == bus.KindDocument && strings.HasPrefix(media, "image/") {
		kind = bus.KindImage
	}
	f.MimeType = media
	f.Name = fileName(cmp.Or(f.Name, fmt.Sprintf("%s-%d", kind, in.from.ID)))
	in.file, in.kind = &f, kind
}

// fileName is what is kept of a name: no path, one line, not too long.
func fileName(s string) string {
	s = strings.Join(strings.Fields(clean(path.Base(strings.ReplaceAll(s, `\`, "/")))), " ")
	return shorten(cmp.Or(s, "file"), maxFileName)
}

func tooLarge(name string, size, most int64) string {
	return fmt.Sprintf("I did not take your message: the file %s has %s, and I take at most %s. (The bound is telegram.max_file_bytes.)", name, bytesText(size), bytesText(most))
}

func bytesText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// compose makes the text that the agent reads.
func (in *incoming) compose(text string) {
	m := in.from
	if m.Sticker != nil {
		text = strings.TrimSpace("[sticker] " + m.Sticker.Emoji)
	}
	text = strings.TrimSpace(clean(text))
	if text == "" && in.file == nil {
		in.nothing()
		return
	}
	if strings.HasPrefix(text, "/") {
		in.message.Text = text
		return
	}
	var before []string
	if in.edited {
		before = append(before, "[I edited an earlier message. It now says:]")
	}
	if len(m.ForwardOrigin) > 0 {
		before = append(before, "[forwarded]")
	}
	if q := quoted(m); q != "" {
		before = append(before, "[in reply to: "+q+"]")
	}
	if text != "" {
		before = append(before, text)
	}
	in.message.Text = strings.Join(before, "\n")
}

// nothing decides about a message without text and file.
func (in *incoming) nothing() {
	m := in.from
	for _, raw := range []json.RawMessage{m.Contact, m.Location, m.Poll, m.Dice, m.Story} {
		if len(raw) > 0 && !in.edited {
			in.refusal = "I cannot read this kind of message. I understand text, pictures, documents and voice messages."
			return
		}
	}
	in.ignored = true // someone joined, a title changed, a live location moved
}

// quoted is what a message replies to, shortened to one line.
func quoted(m *message) string {
	text := ""
	if m.Quote != nil {
		text = m.Quote.Text
	} else if m.ReplyTo != nil {
		text = cmp.Or(m.ReplyTo.Text, m.ReplyTo.Caption)
	}
	return shorten(strings.Join(strings.Fields(clean(text)), " "), maxQuote)
}

func shorten(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
