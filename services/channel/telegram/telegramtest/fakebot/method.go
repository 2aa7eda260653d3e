// SPDX-License-Identifier: MIT OR Apache-2.0

package fakebot

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const maxText = 4096 // UTF-16 units after the tags are read

func (b *Bot) serve(w http.ResponseWriter, r *http.Request) {
	if rest, ok := strings.CutPrefix(r.URL.Path, "/file/bot"+b.Token()+"/"); ok {
		b.serveFile(w, rest)
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/bot")
	token, method, named := strings.Cut(rest, "/")
	if !ok || !named {
		refused(http.StatusNotFound, "Not Found").write(w)
		return
	}
	req := Request{Method: method, At: time.Now(), Params: params(r)}
	if token != b.Token() {
		b.note(req, http.StatusUnauthorized)
		refused(http.StatusUnauthorized, "Unauthorized").write(w)
		return
	}
	if f, ok := b.fault(method); ok {
		if f.After {
			b.run(r, req)
		}
		b.note(req, f.Code)
		if f.Hang {
			<-r.Context().Done()
		}
		f.write(w)
		return
	}
	a := b.run(r, req)
	code := a.code
	if a.error == "" {
		code = http.StatusOK
	}
	b.note(req, code)
	a.write(w)
}

func (f Fault) write(w http.ResponseWriter) {
	switch {
	case f.Cut:
		panic(http.ErrAbortHandler)
	case f.HTML:
		w.WriteHeader(f.Code)
		_, _ = io.WriteString(w, "<html><body>"+f.Description+"</body></html>")
		return
	}
	a := refused(f.Code, cmp.Or(f.Description, http.StatusText(f.Code)))
	if f.RetryAfter > 0 {
		a.parameters = map[string]any{"retry_after": f.RetryAfter}
	}
	a.write(w)
}

// params reads JSON, a form or a query, as the real server does.
func params(r *http.Request) map[string]any {
	out := map[string]any{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		_ = json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&out) // what is missing then is refused
		return out
	}
	_ = r.ParseForm()
	for k := range r.Form {
		out[k] = r.Form.Get(k)
	}
	return out
}

func (b *Bot) note(r Request, code int) {
	r.Code = code
	b.change(func() { b.requests = append(b.requests, r) })
}

func (b *Bot) fault(method string) (Fault, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fs := b.faults[method]
	if len(fs) == 0 {
		return Fault{}, false
	}
	b.faults[method] = fs[1:]
	return fs[0], true
}

func (b *Bot) run(r *http.Request, req Request) (a answer) {
	switch strings.ToLower(req.Method) {
	case "getupdates":
		return b.getUpdates(r, req)
	case "getme":
		b.mu.Lock()
		id := b.id
		b.mu.Unlock()
		return answer{result: map[string]any{"id": id, "is_bot": true, "first_name": "Fake", "username": Username}}
	case "deletewebhook":
		b.SetWebhook(false)
		return answer{result: true}
	case "sendmessage":
		b.change(func() { a = b.sendMessage(req) })
	case "editmessagetext":
		b.change(func() { a = b.editMessage(req) })
	case "deletemessage":
		b.change(func() {
			if a = (answer{result: true}); !b.remove(req.Int("chat_id"), req.Int("message_id")) {
				a = refused(http.StatusBadRequest, "Bad Request: message to delete not found")
			}
		})
	case "sendchataction":
		a = answer{result: true}
	case "getfile":
		a = b.getFile(req)
	default:
		a = refused(http.StatusNotFound, "Not Found")
	}
	return a
}

// getUpdates confirms, then answers with what is not confirmed, waiting for some.
func (b *Bot) getUpdates(r *http.Request, req Request) answer {
	limit := int(req.Int("limit"))
	if limit <= 0 || limit > 100 {
		limit = 100
	}
	var mine int
	b.change(func() {
		b.poller++ // who asked before is cut off
		mine = b.poller
		if offset := req.Int("offset"); offset > 0 {
			for len(b.updates) > 0 && b.updates[0].id < offset {
				b.updates = b.updates[1:]
			}
		}
	})
	timer := time.NewTimer(time.Duration(min(req.Int("timeout"), 50)) * time.Second)
	defer timer.Stop()
	for over := req.Int("timeout") == 0; ; {
		b.mu.Lock()
		changed, latest, webhook := b.changed, b.poller, b.webhook
		found := b.updates[:min(limit, len(b.updates))]
		b.mu.Unlock()
		switch {
		case webhook:
			return refused(http.StatusConflict, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first")
		case latest != mine:
			return refused(http.StatusConflict, "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running")
		case len(found) > 0 || over:
			result := []any{}
			for _, u := range found {
				result = append(result, u.data)
			}
			return answer{result: result}
		}
		select {
		case <-changed:
		case <-timer.C:
			over = true
		case <-r.Context().Done():
			return answer{result: []any{}}
		}
	}
}

// text checks what is to be sent and returns it as people see it.
func text(req Request) (plain string, a answer) {
	plain = req.Text("text")
	if req.Text("parse_mode") == "HTML" {
		var fault string
		if plain, fault = readHTML(plain); fault != "" {
			return "", refused(http.StatusBadRequest, "Bad Request: can't parse entities: "+fault)
		}
	}
	plain = strings.TrimSpace(plain)
	switch {
	case plain == "":
		return "", refused(http.StatusBadRequest, "Bad Request: message text is empty")
	case units(plain) > maxText:
		return "", refused(http.StatusBadRequest, "Bad Request: message is too long")
	}
	return plain, answer{}
}

func (b *Bot) sendMessage(req Request) answer {
	chat := req.Int("chat_id")
	if to, ok := b.moved[chat]; ok {
		a := refused(http.StatusBadRequest, "Bad Request: group chat was upgraded to a supergroup chat")
		a.parameters = map[string]any{"migrate_to_chat_id": to}
		return a
	}
	if chat == 0 {
		return refused(http.StatusBadRequest, "Bad Request: chat not found")
	}
	plain, a := text(req)
	if a.error != "" {
		return a
	}
	b.nextMsg++
	b.chats[chat] = append(b.chats[chat], Message{ID: b.nextMsg, Thread: req.Int("message_thread_id"), Text: req.Text("text"), Plain: plain, HTML: req.Text("parse_mode") == "HTML"})
	return answer{result: b.message(chat, b.nextMsg, plain)}
}

func (b *Bot) message(chat, id int64, plain string) map[string]any {
	return map[string]any{"message_id": id, "date": time.Now().Unix(), "text": plain,
		"chat": map[string]any{"id": chat, "type": "private"}, "from": map[string]any{"id": b.id, "is_bot": true, "first_name": "Fake", "username": Username}}
}

func (b *Bot) editMessage(req Request) answer {
	plain, a := text(req)
	if a.error != "" {
		return a
	}
	chat, id := req.Int("chat_id"), req.Int("message_id")
	for i := range b.chats[chat] {
		m := &b.chats[chat][i]
		if m.ID != id {
			continue
		}
		if m.Text == req.Text("text") && m.HTML == (req.Text("parse_mode") == "HTML") {
			return refused(http.StatusBadRequest, "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message")
		}
		m.Text, m.Plain, m.HTML = req.Text("text"), plain, req.Text("parse_mode") == "HTML"
		m.Edits++
		return answer{result: b.message(chat, id, plain)}
	}
	return refused(http.StatusBadRequest, "Bad Request: message to edit not found")
}

func (b *Bot) getFile(req Request) answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := req.Text("file_id")
	data, ok := b.files[id]
	switch {
	case !ok:
		return refused(http.StatusBadRequest, "Bad Request: invalid file_id")
	case len(data) > 20<<20:
		return refused(http.StatusBadRequest, "Bad Request: file is too big")
	}
	return answer{result: map[string]any{"file_id": id, "file_unique_id": id, "file_size": len(data), "file_path": "documents/" + id}}
}

func (b *Bot) serveFile(w http.ResponseWriter, path string) {
	if f, ok := b.fault("file"); ok {
		f.write(w)
		return
	}
	b.mu.Lock()
	data, ok := b.files[strings.TrimPrefix(path, "documents/")]
	b.mu.Unlock()
	if !ok {
		refused(http.StatusNotFound, "Not Found").write(w)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	_, _ = w.Write(data) // the bot may have gone
}
