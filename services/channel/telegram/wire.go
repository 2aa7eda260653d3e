// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import "encoding/json"

// The few objects of the Bot API that are used, with the vendor's field names.

type user struct {
	ID        int64  `json:"id"`
	IsBot     bool   `json:"is_bot"`
	FirstName string `json:"first_name"`
	Username  string `json:"username"`
}

type chat struct {
	ID   int64  `json:"id"`
	Type string `json:"type"` // private, group, supergroup or channel
}

type entity struct {
	Type   string `json:"type"`
	Offset int    `json:"offset"` // in UTF-16 units
	Length int    `json:"length"`
	User   *user  `json:"user"`
}

type file struct {
	ID       string `json:"file_id"`
	Unique   string `json:"file_unique_id"` // stays the same over time
	Size     int64  `json:"file_size"`
	Name     string `json:"file_name"`
	MimeType string `json:"mime_type"`
}

type message struct {
	ID              int64    `json:"message_id"`
	ThreadID        int64    `json:"message_thread_id"`
	IsTopic         bool     `json:"is_topic_message"`
	From            *user    `json:"from"`
	SenderChat      *chat    `json:"sender_chat"`
	Chat            chat     `json:"chat"`
	Date            int64    `json:"date"`
	EditDate        int64    `json:"edit_date"`
	Text            string   `json:"text"`
	Entities        []entity `json:"entities"`
	Caption         string   `json:"caption"`
	CaptionEntities []entity `json:"caption_entities"`
	ReplyTo         *message `json:"reply_to_message"`
	Quote           *struct {
		Text string `json:"text"`
	} `json:"quote"`
	ForwardOrigin json.RawMessage `json:"forward_origin"`

	Photo     []file `json:"photo"` // the same in several sizes
	Document  *file  `json:"document"`
	Voice     *file  `json:"voice"`
	Audio     *file  `json:"audio"`
	Video     *file  `json:"video"`
	VideoNote *file  `json:"video_note"`
	Animation *file  `json:"animation"`
	Sticker   *struct {
		Emoji string `json:"emoji"`
	} `json:"sticker"`
	Contact  json.RawMessage `json:"contact"`
	Location json.RawMessage `json:"location"`
	Poll     json.RawMessage `json:"poll"`
	Dice     json.RawMessage `json:"dice"`
	Story    json.RawMessage `json:"story"`

	MigrateTo   int64 `json:"migrate_to_chat_id"`
	MigrateFrom int64 `json:"migrate_from_chat_id"`
}

type update struct {
	ID      int64    `json:"update_id"`
	Message *message `json:"message"`
	Edited  *message `json:"edited_message"`
}

type getUpdates struct {
	Offset  int64    `json:"offset"`
	Limit   int      `json:"limit"`
	Timeout int      `json:"timeout"`
	Allowed []string `json:"allowed_updates"`
}

// place is where in Telegram something is said.
type place struct {
	Chat   int64 `json:"chat_id"`
	Thread int64 `json:"message_thread_id,omitempty"`
}

type outgoing struct {
	place
	Text      string       `json:"text"`
	ParseMode string       `json:"parse_mode,omitempty"`
	Preview   *linkPreview `json:"link_preview_options,omitempty"`
}

type linkPreview struct {
	Disabled bool `json:"is_disabled"`
}

type editing struct {
	Chat      int64        `json:"chat_id"`
	Message   int64        `json:"message_id"`
	Text      string       `json:"text"`
	ParseMode string       `json:"parse_mode,omitempty"`
	Preview   *linkPreview `json:"link_preview_options,omitempty"`
}

type deleting struct {
	Chat    int64 `json:"chat_id"`
	Message int64 `json:"message_id"`
}

type action struct {
	place
	Action string `json:"action"`
}
